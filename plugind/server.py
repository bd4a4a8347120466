"""Serves the application over HTTP with waitress, and stops without breaking what is in flight.

Waitress has one pool of threads, and every parked query holds one of them. So the pool is larger
than the number that may be parked: ordinary requests always find a thread.
"""

from __future__ import annotations

import logging
import resource
import socket
import threading
import time
from contextlib import suppress
from typing import Any
from wsgiref.types import WSGIApplication

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask

from plugind import logs
from plugind.catalogue import SETTLED_MAXIMUM
from plugind.errors import ListenError

WORKERS = 16 + SETTLED_MAXIMUM  # threads beyond those that parked queries hold
_SPARE_CONNECTIONS = 1_000  # beyond one for each thread: clients that keep theirs open, idle
_OTHER_FILES = 64  # that are open beside connections: the database, pipes, logs
HEAD_MAXIMUM = 48 * 2**10  # of a request's line and headers; what is longer takes long to read
_BODY_MAXIMUM = 16 * 2**20  # what waitress takes in at all; the API has its own, lower bound
_LOOK_EVERY = 0.02  # seconds between two looks whether the last answer has been sent

_log = logs.get("server")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one. Raises ListenError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; "
            "bind_addr and ports.http say where to listen"
        ) from error


def _connections(wanted: int) -> int:
    """How many connections there may be at a time. Past the limit of open files accept() fails
    again and again, and nothing else can be opened either."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft == resource.RLIM_INFINITY or soft - _OTHER_FILES >= wanted:
        return wanted
    limit = max(soft - _OTHER_FILES, 1)
    _log.warning("few files may be open at a time", limit=soft, connections=limit, wanted=wanted)
    return limit


class _ErrorTask(ErrorTask):  # type: ignore[misc]
    """Tells what waitress itself refuses (a header or body that is too large, no HTTP at all) in
    one line, as the API tells its errors."""

    def execute(self) -> None:
        error = self.request.error
        body = " ".join(f"{error.reason}: {error.body}".split()).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "text/plain; charset=utf-8"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]
    error_task_class = _ErrorTask


class Server:
    """Serves ``application`` on ``sock`` from ``start`` until ``stop``."""

    def __init__(
        self, application: WSGIApplication, sock: socket.socket, *, max_parked: int
    ) -> None:
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._map: dict[int, Any] = {}
        threads = max_parked + WORKERS
        try:
            self._waitress = create_server(
                application,
                map=self._map,
                sockets=[sock],
                threads=threads,
                ident=None,
                connection_limit=_connections(threads + _SPARE_CONNECTIONS),
                asyncore_use_poll=True,  # select() fails past a thousand sockets
                channel_request_lookahead=1,  # else nobody sees that a parked client went away
                max_request_header_size=HEAD_MAXIMUM,
                max_request_body_size=_BODY_MAXIMUM,
                clear_untrusted_proxy_headers=True,
            )
        except RuntimeError as error:
            raise ListenError(
                f"cannot start {threads} threads, one for each query that may be parked: {error}; "
                "lower server.max_parked"
            ) from error
        self._waitress.channel_class = _Channel
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="http", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, grace: float = 10.0) -> None:
        """Takes no more connections, finishes what is in flight (for ``grace`` seconds at most),
        and ends. Parked queries are to be woken by the caller, before."""
        self._waitress.trigger.pull_trigger(self._stop_listening)
        deadline = time.monotonic() + grace
        while self._is_busy() and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY)
        self._ended.set()
        self._waitress.pull_trigger()
        self._thread.join()
        self._waitress.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(self._map)

    def _loop(self) -> None:
        while not self._ended.is_set():
            wasyncore.loop(timeout=1.0, use_poll=True, map=self._map, count=1)

    def _stop_listening(self) -> None:
        self._waitress.accepting = False
        self._waitress.del_channel()
        self._waitress.socket.close()

    def _is_busy(self) -> bool:
        channels = list(self._waitress.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)
