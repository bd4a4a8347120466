"""One connection of an HTTP client, with the rules that waitress' own channel lacks.

1. One request at a time is in progress, until its answer is sent. What a client sends after it is
   kept unparsed, and is read only to notice the end of the connection meanwhile.
2. The head and the body of a request each have a deadline that arriving bytes do not extend.
3. A request is admitted when its head is complete: only then is ``100 Continue`` sent
   and its body read.
4. A refused client gets its answer before the connection is closed: what it still sends is read
   and dropped for a moment, because closing with unread bytes sends a reset, which destroys the
   answer.
5. A client that speaks TLS to this plain port is disconnected at once: otherwise it would wait for
   an answer to its first record, and the HTTP parser for the end of a line.
6. A request that has both Content-Length and Transfer-Encoding is the connection's last
   (RFC 9112, section 6.1).
7. The bytes that clients have sent and no worker has taken yet are bounded over all connections.
8. After an answer, the loop is woken only if it has something to do for the connection.

The loop's thread reads and parses, a worker answers; ``requests_lock`` is held while parsing. Only
the loop's thread closes a connection: until then no other connection can get its descriptor.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from plugind.api.repeats import Repeats
from plugind.health import Hits
from plugind.serve.answering import AnsweringChannel, AnsweringServer
from plugind.serve.bodies import BodyMemory
from plugind.serve.connections import Places
from plugind.serve.limits import (
    BODY_BYTES_PER_SECOND,
    LINGER_BYTES,
    LINGER_SECONDS,
    ConnectionLimits,
)
from plugind.serve.output import Queued
from plugind.serve.request import Again, Refused, Request

KEPT_MAXIMUM = 64 * 2**10
"""Bytes that a client may send after the request in progress, before that is answered."""

TLS_HANDSHAKE = 0x16
"""The first byte that a client sends if it speaks TLS (RFC 8446, section 5.1)."""

UNPARSED_FREE = 8 * 2**10
"""Unparsed bytes that a connection may have even when all connections together have too many."""


class ChannelServer(AnsweringServer, Protocol):
    """The part of the server that a connection uses."""

    limits: ConnectionLimits
    hits: Hits
    bodies: BodyMemory[Request]
    received: Queued
    places: Places[Channel]
    repeats: Repeats | None

    @property
    def is_full(self) -> bool: ...
    def take(self, channel: Channel) -> None: ...
    def admit(self, channel: Channel, request: Request) -> Refused | None: ...
    def accessor_of(self, request: Request) -> str: ...
    def refused(self, channel: Channel, request: Request, status: int) -> None: ...
    def add_task(self, task: Channel) -> None: ...
    def pull_trigger(self) -> None: ...


class Channel(AnsweringChannel):
    """A connection that follows the rules in the module's docstring.

    ``address`` is the client's. ``is_agent``: one of its requests carried the right secret of a
    node. ``beyond``: it exceeds the number of connections that are allowed. ``last_request`` is
    when the last head was complete. ``is_pipelined``: the request in progress was sent before the
    previous one was answered.
    """

    parser_class = Request

    server: ChannelServer
    request: Request | None

    def __init__(
        self, server: ChannelServer, sock: socket.socket, addr: Any, *rest: Any, **options: Any
    ) -> None:
        # On "::" a client that came over IPv4 has a mapped address (RFC 4291, section 2.5.5.2).
        addr = (addr[0].removeprefix("::ffff:"), *addr[1:])
        self.address: str = addr[0]
        self._has_greeted = False
        self.is_agent = False
        self.beyond = False
        self.is_pipelined = self.is_read = self.is_refused = False
        self._pipelines = False  # whether the next request is pipelined, too
        self.last_request = time.monotonic()
        self._deadline: float | None = None
        self._kept = b""
        self._counted = 0
        self._was_refused = False
        self._lingers_until: float | None = None
        self._dropped = 0
        self._when_closed: Callable[[], None] | None = None
        super().__init__(server, sock, addr, *rest, **options)
        server.loop.touch(self)
        server.take(self)

    # Used by the server.

    @property
    def is_idle(self) -> bool:
        """Return whether no request is in progress and nothing waits to be sent."""
        return not (self.requests or self.total_outbufs_len)

    @property
    def is_working(self) -> bool:
        """Return whether a request is in progress."""
        return bool(self.requests)

    @property
    def share(self) -> str:
        """Return the address whose share of memory for bodies this connection uses; "": none."""
        return "" if self.server.limits.trusts(self.address) else self.address

    @property
    def client(self) -> str:
        """Return the client that takes a turn for the request in progress: the address that it
        comes from, as a trusted proxy reports it, and the accessor of its token, if valid."""
        address, accessor = self.address, ""
        for request in self.requests:
            address = self._address_of(request)
            accessor = self.server.accessor_of(request)
        return f"{address} {accessor}" if accessor else address

    def _address_of(self, request: Request) -> str:
        """Return the address that a request comes from, as a trusted proxy reports it."""
        forwarded = request.headers.get("X_FORWARDED_FOR", "")
        return self.server.limits.client_of(self.address, forwarded) if forwarded else self.address

    def verified_node(self) -> None:
        """Note that a request of this connection carried the right secret of a node."""
        self.is_agent = True
        self.server.places.used(self)

    def on_close(self, call: Callable[[], None] | None) -> None:
        """Call ``call`` from the loop's thread once the connection has ended, or now if it already
        has; None removes the previous callback. Only parked requests use this."""
        self._when_closed = call
        if call is not None:
            self.waits()
            if not self.connected:
                call()

    def limit_head(self, seconds: float) -> None:
        """Close the connection unless a head is complete within ``seconds`` from now."""
        self.beyond = True
        self._deadline = time.monotonic() + seconds

    def overdue(self, now: float) -> str:
        """Return the name of the time limit that the connection has exceeded, "" for none."""
        limits = self.server.limits
        if self._lingers_until is not None:
            return "linger" if now >= self._lingers_until else ""
        if self.total_outbufs_len:
            return "send_timeout" if now - self.stalled_since >= limits.send_timeout else ""
        if self._deadline is not None:
            if now < self._deadline:
                return ""
            reads_body = self.request is not None and self.request.headers_finished
            return "body_timeout" if reads_body else "head_timeout"
        idle_since = max(self.last_request, self.stalled_since)
        is_idle = not self.requests and now - idle_since >= limits.idle_timeout
        return "idle_timeout" if is_idle else ""

    # Reading: in the loop's thread.

    def readable(self) -> bool:
        """Return whether to read from the connection: not if it is closing, has to wait for memory,
        or is about to be refused."""
        if self._lingers_until is not None:
            return True
        request = self.request
        if self.will_close or self.close_when_flushed or (request and request.waits_for_room):
            return False
        if self.has_answered and not self.is_idle and len(self._kept) >= KEPT_MAXIMUM:
            return False  # the client has its answer already, and this is its next request
        return not any(each.error for each in self.requests[:1])

    def received(self, data: bytes) -> bool:
        """Take what the client sent; parse it unless a request is in progress."""
        if not self._has_greeted:
            self._has_greeted = True
            if data[0] == TLS_HANDSHAKE:
                self.handle_close()
                return False
        if self._lingers_until is not None:
            self._dropped += len(data)
            if self._dropped > LINGER_BYTES:
                self.handle_close()
            return False
        with self.requests_lock:
            if self.will_close or self.close_when_flushed:
                return False
            self._pipelines |= self.is_working and not self.has_answered
            self._kept = self._kept + data if self._kept else data
            self._parse()
            limit = self._exceeded()
        if limit:
            self.server.hits.add(limit, address=self.address)
            self.handle_close()
        return True

    def _exceeded(self) -> str:
        """Return the name of the limit on bytes that the connection has exceeded, "" for none."""
        if self.is_working and not self.has_answered and len(self._kept) > KEPT_MAXIMUM:
            return "pipelining"
        if self._counted > UNPARSED_FREE and self.server.received.excess:
            return "max_receive_memory"
        return ""

    def _parse(self) -> None:
        """Parse the kept bytes until a request is complete, and hand the request to a worker."""
        while self._kept and self.is_idle and self.connected:
            if self.request is None:
                self._kept = self._kept.lstrip(b"\r\n")  # an empty line would count as a request
                if not self._kept:
                    break
                self.request = self.parser_class(self.adj, self)
                if self._deadline is None:
                    self._deadline = time.monotonic() + self.server.limits.head_timeout
            request = self.request
            if request.waits_for_room:
                break
            started = time.thread_time()
            self._kept = self._kept[request.received(self._kept) :]
            if request.headers_finished and not (request.admitted or request.empty):
                self._admit(request)
            request.cost += time.thread_time() - started
            if request.wants_body:
                request.check_size()
                if request.waits_for_room:
                    request.has_room = self.server.bodies.reserve(request, request.memory)
            if request.completed:
                self._complete(request)
        self._count()

    def _count(self) -> None:
        """Count the client's bytes that are in memory without a reservation."""
        parts = (each.unreserved for each in (self.request, *self.requests) if each)
        size = len(self._kept) + sum(parts)
        if size != self._counted:
            self.server.received.add(size - self._counted)
            self._counted = size

    def _admit(self, request: Request) -> None:
        """Refuse a request because of its head, or have its body follow."""
        request.admitted = True
        self.last_request = time.monotonic()
        self.server.places.used(self)
        if request.error is None and (refused := self.server.admit(self, request)):
            request.error = refused
            request.completed = True
        elif request.wants_body and not request.completed:
            seconds = self.server.limits.body_timeout
            seconds += request.content_length / BODY_BYTES_PER_SECOND
            self._deadline = self.last_request + seconds
            if request.expect_continue:
                self.send_continue()

    def _complete(self, request: Request) -> None:
        self.request = None
        self._deadline = None
        self.sent_continue = False
        if not request.empty:
            self.is_pipelined, self._pipelines = self._pipelines, bool(self._kept)
            self.has_answered, self.is_read = False, request.is_read or self.is_refused
            if not self._is_repeated(request):
                self.requests.append(request)
                self.server.add_task(self)

    def _is_repeated(self, request: Request) -> bool:
        """Answer a request at once if the answer was given before and is still valid; return
        whether that was done. This is cheaper than handing the request to a worker."""
        repeats = self.server.repeats
        if repeats is None or self.is_pipelined:
            return False
        began, queue = time.monotonic(), self.server.task_dispatcher.queue
        request.key = key = request.read_key()
        repeat = repeats.find(key) if key is not None and request.leaves_open else None
        if repeat is None:
            return False
        if not queue.askers.may_be_at_once(self._address_of(request), began):
            return False
        head = repeat.form(Again).head(request, repeats.contact_headers())
        body = b"" if repeat.is_head else repeat.body
        repeats.given(repeat, self.address, began)
        self.send_at_once(head, body)
        request.close()
        return True

    def resume(self, request: Request) -> None:
        """Continue with a body that waited for memory."""
        with self.requests_lock:
            request.has_room = True
            self._parse()
        self._look_again()

    # Answering: in a worker's thread.

    def service(self) -> None:
        """Answer the request in progress; then parse what the client sent after it."""
        (request,) = self.requests
        is_counted = self.server.task_dispatcher.queue.taken_at(self) is not None
        self._was_refused = self.is_refused = bool(request.error)
        started = time.thread_time()
        try:
            self.answer(request)
        except BaseException:  # the thread ends, and the connection with it
            with self.requests_lock:
                self.requests.clear()
                self.will_close = True
            self.waits()
            self._look_again()
            raise
        finally:
            self._release(request)
        if is_counted:  # else the connection's next request may be in progress already
            self.server.task_dispatcher.rest(self, request.cost + time.thread_time() - started)
        with self.requests_lock:
            if not (self.will_close or self.close_when_flushed):
                self._parse()
            self._count()
        self._look_again()

    def _look_again(self) -> None:
        """Have the loop check what the connection waits for: at once if the loop does not watch for
        it yet, or if there may be room for another connection now."""
        self.server.loop.touch(self)
        if self.server.is_full or not self.server.loop.watches(self):
            self.server.pull_trigger()

    def check_client_disconnected(self) -> bool:
        """Return whether the client has gone; only parked requests call this."""
        self.waits()
        return bool(super().check_client_disconnected())

    def _release(self, request: Request) -> None:
        """Release the memory of a request's body, and resume the bodies that get it."""
        for other in self.server.bodies.release(request):
            other.channel.resume(other)

    # Ending.

    def writable(self) -> bool:
        """Return whether data waits to be sent, or the connection has to be closed."""
        if self._lingers_until is not None:
            return bool(self.will_close)
        return bool(super().writable())

    def handle_write(self) -> None:
        """Send what waits. After that, keep reading for a moment from a client that was refused."""
        if not self.connected:
            return
        if self._was_refused and self.close_when_flushed and not self.will_close:
            self._flush_exception(self._flush_some)
            if not (self.total_outbufs_len or self.will_close):
                self.close_when_flushed = False
                self._lingers_until = time.monotonic() + LINGER_SECONDS
                with suppress(OSError):
                    self.socket.shutdown(socket.SHUT_WR)
            if not self.will_close:
                return
        super().handle_write()
        if self._kept and self.is_idle:
            with self.requests_lock:
                self._parse()

    def del_channel(self, map: Any = None) -> None:
        """Have the loop forget the descriptor, because the next connection may get the same one."""
        if self._fileno is not None:
            self.server.loop.forget(self._fileno)
        super().del_channel(map)

    def handle_close(self) -> None:
        """Close the connection, and release the memory that it held."""
        if not self.connected:
            return
        super().handle_close()
        self.server.places.remove(self)
        with self.requests_lock:
            request, self.request, self._kept = self.request, None, b""
            self._count()
        if request is not None:
            request.close()
            self._release(request)
        if (call := self._when_closed) is not None:
            call()
