"""Serves the application over HTTP with waitress, and stops without breaking requests in flight.

Waitress has one pool of threads, and every parked query holds one of them. So the pool may grow
larger than the number of queries that may be parked, and ordinary requests always find a thread.
"""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from wsgiref.types import WSGIApplication

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from plugind import logs
from plugind.api.flask_port import RefusedHead
from plugind.api.repeats import Repeats
from plugind.api.request import secret_in
from plugind.catalogue.catalogue import SETTLED_MAXIMUM
from plugind.errors import ListenError
from plugind.health import Hits
from plugind.health.threads import OwnedThread
from plugind.serve.bodies import BodyMemory
from plugind.serve.channel import Channel
from plugind.serve.connections import Places
from plugind.serve.limits import HEAD_MAXIMUM, ConnectionLimits
from plugind.serve.listening import BACKLOG, connections_allowed
from plugind.serve.loop import Loop
from plugind.serve.output import Queued
from plugind.serve.request import Refused, Request
from plugind.serve.thread_limits import why_too_many
from plugind.serve.workers import READ_LONG, Workers

WORKERS = 16 + SETTLED_MAXIMUM
"""Threads beyond those that parked queries and reports hold."""

BEYOND_MAXIMUM = 16
"""Connections that are accepted beyond the limit, so that their clients get an answer."""

BEYOND_SECONDS = 2.0

_BODY_MAXIMUM = 16 * 2**20  # of any body; the API has its own, lower bound
_UNBOUNDED = 2**40  # bytes after which waitress would use temporary files: never
_ACCEPT_AT_ONCE = 64
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_LOOK_EVERY = 0.02  # seconds between two checks whether the last answer has been sent
_AFTER_FAULT = 0.1  # seconds, so that a persistent fault does not use a whole processor
_TICK = 1.0  # seconds between two checks of deadlines

_log = logs.get("server")

HeadCheck = Callable[[dict[str, Any]], int | RefusedHead]
"""Takes the head of a request, as a WSGI environment; returns how many bytes the body may have, or
the answer that refuses the request. Called in the loop's thread."""


class HttpServer(TcpWSGIServer):  # type: ignore[misc]
    """Waitress' server with plugind's connections and their limits.

    ``check_head`` admits or refuses requests with large bodies. ``log_refused`` is called with the
    connection, the request and the status of each request that never reaches the application.
    ``accessor_of_secret`` returns the accessor of a token, "" if the token is not valid.
    ``repeats`` has the answers that may be repeated.
    """

    channel_class = Channel

    def __init__(
        self,
        application: WSGIApplication,
        sock: socket.socket,
        loop_map: dict[int, Any],
        limits: ConnectionLimits,
        hits: Hits,
        adjustments: Adjustments,
        check_head: HeadCheck | None,
        log_refused: Callable[[Channel, Request, int], None] | None,
        accessor_of_secret: Callable[[str], str] | None,
        repeats: Repeats | None,
    ) -> None:
        self.limits = limits
        self.repeats = repeats
        self.hits = hits
        self.queued = Queued(limits.max_send_memory)
        self.bodies: BodyMemory[Request] = BodyMemory(limits.max_body_memory)
        self.received = Queued(limits.max_receive_memory)
        self.places: Places[Channel] = Places(limits.trusts)
        self.loop = Loop(loop_map)
        self._closing: deque[Channel] = deque()  # even if they still have data to send
        self._trigger_lock = threading.Lock()
        self.is_pulled = False  # the trigger was pulled since the loop's last turn began
        self._has_ended = False
        self._check_head = check_head
        self._log_refused = log_refused
        self._accessor_of_secret = accessor_of_secret
        workers = Workers()
        workers.set_thread_count(adjustments.threads)
        super().__init__(
            application,
            map=loop_map,
            dispatcher=workers,
            _sock=sock,
            adj=adjustments,
            bind_socket=False,
            sockinfo=(sock.family, sock.type, sock.proto, sock.getsockname()),
        )
        for dispatcher in list(loop_map.values()):
            self.loop.touch(dispatcher)
        self._next_tick = 0.0
        self._accepts_from = 0.0

    def turn(self) -> None:
        """Wait for events on all connections for up to a second, and handle them."""
        while self._closing:
            self._closing.popleft().handle_close()
        self.loop.touch(self)
        workers = self.task_dispatcher
        self.loop.turn(READ_LONG if workers.queue.has_reads else _TICK)
        if workers.queue.is_holding:
            workers.look()
        now = time.monotonic()
        if now >= self._next_tick:
            self._next_tick = now + _TICK
            for channel in list(self.active_channels.values()):
                if limit := channel.overdue(now):
                    self.hits.add(limit, address=channel.address)
                    channel.handle_close()

    def pull_trigger(self) -> None:
        """Wake the loop; do nothing once the server has ended.

        One pull per turn of the loop is enough. Each pull is a write to a pipe, during which the
        thread may lose the interpreter and then keep all others waiting for ``_trigger_lock``.
        """
        if self.is_pulled:
            return
        self.is_pulled = True
        with self._trigger_lock:
            if not self._has_ended:
                super().pull_trigger()

    def end(self) -> None:
        """Close all descriptors, even while a worker is still busy.

        Without the lock such a worker could pull the trigger afterwards, and so write to whatever
        has that descriptor number by then.
        """
        with self._trigger_lock:
            self._has_ended = True
            wasyncore.close_all(self._map)
        self.loop.close()

    # Accepting.

    @property
    def is_full(self) -> bool:
        """Return whether the maximum number of connections is open."""
        return len(self.active_channels) >= self.limits.max_connections

    def readable(self) -> bool:
        """Return whether to accept a connection: even beyond the limit, as long as its client can
        be given an answer."""
        if not self.accepting or time.monotonic() < self._accepts_from:
            return False
        if len(self.active_channels) < self.limits.max_connections + BEYOND_MAXIMUM:
            return True
        return self.places.gives_way() is not None

    def handle_accept(self) -> None:
        """Accept waiting clients while there is room, or a connection that gives way."""
        for _ in range(_ACCEPT_AT_ONCE):
            if not self.readable():
                return
            try:
                sock, address = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self.hits.add("open_files", reason=str(error))
                    self._accepts_from = time.monotonic() + _TICK
                    return
                continue  # the client has gone
            try:
                self.set_socket_options(sock)
                self.channel_class(self, sock, address, self.adj, map=self._map)
            except OSError:  # the client has gone
                sock.close()

    def handle_error(self) -> None:
        """Log a fault of plugind's own and continue: by default waitress would close the server."""
        _log.error("a connection could not be accepted", exc_info=True)

    def handle_close(self) -> None:
        """Stay open: no client may close the listening socket."""

    def take(self, channel: Channel) -> None:
        """Make room for a connection that was just accepted, or limit how long it may stay."""
        self.places.add(channel)
        if len(self.active_channels) <= self.limits.max_connections:
            return
        self.hits.add("max_connections", address=channel.address)
        if (loser := self.places.gives_way(channel)) is not None:
            loser.handle_close()
        else:
            channel.limit_head(BEYOND_SECONDS)

    # Requests.

    def admit(self, channel: Channel, request: Request) -> Refused | None:
        """Return the refusal of a request because of its head, or None if it is admitted."""
        if channel.beyond:
            request.close_after()
        if channel.beyond and not _is_vital(request):
            text = "as many connections are open as there may be; try again later"
            return Refused.with_text("503 Service Unavailable", text, ("Retry-After", "1"))
        if self._check_head is not None and (request.is_large or channel.beyond):
            # The WSGI environment of the head, with an empty body.
            environ = channel.task_class(channel, request).get_environment()
            found = self._check_head(environ)
            if not isinstance(found, int):
                return Refused(*found, logged=True)
            request.body_maximum = found
        return None

    def accessor_of(self, request: Request) -> str:
        """Return the accessor of a request's token, "" if it has no valid one."""
        headers = request.headers
        secret = secret_in(headers.get("X_NOMAD_TOKEN", ""), headers.get("AUTHORIZATION", ""))
        return self._accessor_of_secret(secret) if secret and self._accessor_of_secret else ""

    def refused(self, channel: Channel, request: Request, status: int) -> None:
        """Record that a request was answered by the HTTP server itself."""
        if self._log_refused is not None:
            self._log_refused(channel, request, status)

    def make_room_to_send(self, channel: Channel, size: int) -> None:
        """Close connections, those that have taken nothing for longest first, until there is room
        for ``size`` bytes."""
        excess = self.queued.bytes + size - self.queued.maximum
        if excess <= 0:
            return
        others = [
            each
            for each in list(self.active_channels.values())
            if each is not channel and each.total_outbufs_len and not each.will_close
        ]
        for each in sorted(others, key=lambda each: each.stalled_since):
            excess -= each.total_outbufs_len
            self.hits.add("max_send_memory", address=each.address)
            each.will_close = True  # it queues nothing more
            self._closing.append(each)
            self.pull_trigger()
            if excess <= 0:
                return


def _is_vital(request: Request) -> bool:
    """Return whether a request is answered even beyond the limit on connections: a query of the
    health, or a request of an agent."""
    if request.command == "PUT":
        return bool(request.path.startswith("/v1/node/"))
    return request.command in ("GET", "HEAD") and request.path == "/v1/agent/health"


class Server:
    """Serves ``application`` on ``sock`` from ``start`` until ``stop``.

    ``check_head``, ``log_refused``, ``accessor_of_secret`` and ``repeats`` are as for
    ``HttpServer``. Raises ListenError if the process may not have the threads or open files that
    the server needs.
    """

    def __init__(
        self,
        application: WSGIApplication,
        sock: socket.socket,
        *,
        max_parked: int,
        max_reports: int = 0,
        limits: ConnectionLimits | None = None,
        hits: Hits | None = None,
        check_head: HeadCheck | None = None,
        log_refused: Callable[[Channel, Request, int], None] | None = None,
        accessor_of_secret: Callable[[str], str] | None = None,
        repeats: Repeats | None = None,
    ) -> None:
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        limits = limits or ConnectionLimits()
        threads = max_parked + max_reports + WORKERS
        allowed = connections_allowed(limits.max_connections + BEYOND_MAXIMUM) - BEYOND_MAXIMUM
        self._map: dict[int, Any] = {}
        if reason := why_too_many(threads):
            raise ListenError(
                f"cannot start {threads} threads, one for each query that may wait and each report "
                f"that may be in work: {reason}; lower server.max_parked or server.max_reports"
            )
        self._http = HttpServer(
            application,
            sock,
            self._map,
            replace(limits, max_connections=allowed),
            hits or Hits(),
            _adjustments(sock, threads),
            check_head,
            log_refused,
            accessor_of_secret,
            repeats,
        )
        self._ended = threading.Event()
        self._thread = OwnedThread("http", self._loop, restarts=True)

    @property
    def threads(self) -> list[OwnedThread]:
        """Return the thread that serves the connections, and the threads that answer requests."""
        workers = self._http.task_dispatcher
        return [self._thread, workers.starter, *workers.owned]

    def start(self) -> None:
        """Begin to serve."""
        self._http.task_dispatcher.starter.start()
        self._thread.start()

    def stop(self, grace: float = 10.0) -> None:
        """Accept no more connections, finish the requests in flight, and end.

        That takes at most ``grace`` seconds. The caller must have woken the parked queries before.
        """
        self._http.trigger.pull_trigger(self._stop_listening)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and not all(
            channel.is_idle for channel in list(self._http.active_channels.values())
        ):
            time.sleep(_LOOK_EVERY)
        self._ended.set()
        self._http.pull_trigger()
        self._thread.join()
        for channel in list(self._http.active_channels.values()):
            channel.handle_close()  # which frees a worker that waits to send
        self._http.task_dispatcher.shutdown(timeout=1)
        self._http.end()

    def _loop(self) -> None:
        while True:
            # Reset before the checks for changes, so that a pull after them wakes the loop again.
            self._http.is_pulled = False
            if self._ended.is_set():
                return
            try:
                self._http.turn()
            except Exception:  # nothing else would start this thread again
                _log.error("a turn of the HTTP server failed", exc_info=True)
                self._ended.wait(_AFTER_FAULT)

    def _stop_listening(self) -> None:
        self._http.accepting = False
        self._http.del_channel()
        self._http.socket.close()


def _adjustments(sock: socket.socket, threads: int) -> Adjustments:
    """Return waitress' settings for a listening socket and a number of worker threads."""
    return Adjustments(
        sockets=[sock],
        threads=threads,
        backlog=BACKLOG,
        ident=None,
        recv_bytes=2**16,
        inbuf_overflow=_UNBOUNDED,
        outbuf_overflow=_UNBOUNDED,
        outbuf_high_watermark=256 * 2**10,
        max_request_header_size=HEAD_MAXIMUM,
        max_request_body_size=_BODY_MAXIMUM,
        clear_untrusted_proxy_headers=False,  # they are read only from trusted_proxies
    )
