"""One request as it is read, and how it is answered when the application never sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask, Task, WSGITask
from waitress.utilities import BadRequest, RequestHeaderFieldsTooLarge

from plugind.api.repeats import Repeat, key_of
from plugind.api.reply import CACHE_CONTROL, status_line
from plugind.api.wsgi import CONNECTION, KEY, WHEN_ANSWERED
from plugind.client import NODE_SECRET_HEADER
from plugind.printable import one_line
from plugind.serve.bodies import SMALL_MAXIMUM

UNCHECKED_MAXIMUM = 16 * 2**10
"""Bytes of a body that may be read before its request is checked: no more than a head may have."""

HEADERS_MAXIMUM = 128
"""Lines of headers. Each takes long to parse, and then many times the memory of its bytes."""

FRAMING_MAXIMUM = 4 * 2**10
"""Bytes of a chunked body that may be chunk sizes and trailers, in addition to half the size of its
data. Each chunk takes time, whatever its size."""

_HEALTH = "/v1/agent/health"
_NODE_SECRET = NODE_SECRET_HEADER.upper().replace("-", "_")
_PARSED_AT_ONCE = 4 * 2**10  # waitress copies the rest of a piece after each chunk

TEXT = "text/plain; charset=utf-8"


class Refused:
    """The answer to a request that is not admitted, in the shape of waitress' own errors.

    ``logged``: the application has written it to its access log.
    """

    def __init__(
        self,
        status: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        *,
        logged: bool = False,
    ) -> None:
        self.code = int(status.partition(" ")[0])
        self.status = status
        self.headers = headers
        self.body = body
        self.logged = logged

    @classmethod
    def with_text(cls, status: str, text: str, *headers: tuple[str, str]) -> Refused:
        """Return a refusal with one line of text."""
        usual = [("Content-Type", TEXT), ("Cache-Control", CACHE_CONTROL)]
        return cls(status, [*usual, *headers], text.encode())


class Request(HTTPRequestParser):  # type: ignore[misc]
    """A request that is read from ``channel``.

    ``admitted``: its head was checked. ``body_maximum``: bytes that its body may have.
    ``has_room``: memory is reserved for its body. ``cost``: seconds of processor time that parsing
    and admitting it took. ``key`` is the key under which the answer to a read is kept.
    """

    path = ""  # waitress reads it even if the head could not be parsed
    admitted = False
    has_room = False
    cost = 0.0
    key: Hashable = None
    completed: bool
    error: Any

    def __init__(self, adj: Any, channel: Any = None) -> None:
        super().__init__(adj)
        self.channel = channel
        self.body_maximum: int = adj.max_request_body_size

    @property
    def share(self) -> str:
        """Return the address whose share of memory the body uses, "" for none."""
        return str(self.channel.share)

    def received(self, data: bytes) -> int:
        """Take the next bytes of the head or the body; return how many of them belong to the
        request.

        A head with too many lines or a body of tiny chunks is refused before it takes long.
        """
        if not self.chunked:
            return int(super().received(data))
        taken = 0
        while taken < len(data) and not self.completed:
            taken += super().received(data[taken : taken + _PARSED_AT_ONCE])
            data_size = len(self.body_rcv)
            framing = self.body_bytes_received - data_size
            if framing > FRAMING_MAXIMUM + data_size // 2 and not self.error:
                self.error = BadRequest("the chunks of the body are too small")
                self.completed = True
        return taken

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the head.

        A request with two lengths, or with one that its HTTP version does not have, is the last of
        its connection, because clients and proxies may disagree about where it ends.
        """
        if header_plus.count(b"\n") > HEADERS_MAXIMUM + 2:  # plus the first line and the blank one
            super().parse_header(b"GET / HTTP/1.0\r\n")
            self.error = RequestHeaderFieldsTooLarge(f"more than {HEADERS_MAXIMUM} headers")
            self.completed = True
            return
        super().parse_header(header_plus)
        has_two = self.chunked and "CONTENT_LENGTH" in self.headers
        if has_two or "TRANSFER_ENCODING" in self.headers:
            self.close_after()

    def close_after(self) -> None:
        """Have the connection closed after the answer."""
        self.headers["CONNECTION"] = "close"
        self.connection_close = True

    def read_key(self) -> Hashable:
        """Return the key under which the answer to a read is kept; None if the request is not a
        read or has a body."""
        if self.error is not None or self.body_rcv is not None:
            return None
        get = self.headers.get
        return key_of(
            self.command,
            self.request_uri,
            "",
            get("ACCEPT_ENCODING", ""),
            get("IF_NONE_MATCH", ""),
            get("X_NOMAD_TOKEN", ""),
            get("AUTHORIZATION", ""),
            bool(get(_NODE_SECRET)),
        )

    @property
    def leaves_open(self) -> bool:
        """Return whether the connection stays open after the answer by default."""
        usual = self.headers.get("CONNECTION", "").lower() in ("", "keep-alive")
        return usual and self.version == "1.1" and not self.connection_close

    @property
    def wants_body(self) -> bool:
        """Return whether the head is complete and says that a body follows."""
        return bool(self.headers_finished and self.body_rcv is not None and not self.error)

    @property
    def is_read(self) -> bool:
        """Return whether this counts as a read: every refused request does, a query of the health
        does not."""
        if self.error is not None:
            return True
        return self.command in ("GET", "HEAD") and self.path != _HEALTH

    @property
    def is_large(self) -> bool:
        """Return whether the request has to be checked before its body is read."""
        if not self.wants_body:
            return False
        return bool(self.chunked or self.expect_continue or self.content_length > UNCHECKED_MAXIMUM)

    @property
    def memory(self) -> int:
        """Return the bytes to reserve for the body; 0 while it is small.

        A chunked body counts as small until more of it has arrived; then its maximum is reserved.
        """
        if (
            not self.wants_body
            or max(self.content_length, self.body_bytes_received) <= SMALL_MAXIMUM
        ):
            return 0
        return int(self.content_length) or self.body_maximum

    @property
    def waits_for_room(self) -> bool:
        """Return whether no more of the body can be read before memory is reserved for it."""
        return self.memory > 0 and not self.has_room

    @property
    def unreserved(self) -> int:
        """Return how many bytes of the request are in memory without a reservation."""
        body = 0 if self.has_room else int(self.body_bytes_received)
        return int(self.header_bytes_received) + body

    def check_size(self) -> None:
        """Refuse the request if its body is larger than it may be."""
        # A chunked body announces no size, so the bytes received so far count.
        size = int(self.content_length) or len(self.body_rcv)
        if size > self.body_maximum:
            text = f"the body is larger than {self.body_maximum} bytes"
            self.error = Refused.with_text("413 Request Entity Too Large", text)
            self.completed = True


REFUSALS = ("400", "403", "405", "413")
"""The statuses with which the application refuses a request that must not be sent again."""


class _HeadKept:
    """Sends the head of an answer together with its body."""

    channel: Any

    def build_response_header(self) -> bytes:
        """Give the head to the connection; return b"" to waitress, which would send it at once."""
        self.channel.begin_answer(super().build_response_header())  # type: ignore[misc]
        return b""


class _Open(Task):  # type: ignore[misc]
    """An answer that does not close the connection if it is a 304 without a length: a 304 never has
    a body."""

    request: Request

    def set_close_on_finish(self) -> None:
        """Close the connection after the answer if that is needed."""
        if not (self.status.startswith("304") and self.request.leaves_open):
            super().set_close_on_finish()


class RefusingTask(_HeadKept, ErrorTask):  # type: ignore[misc]
    """Answers a request that never reaches the application with one line of text, as the API
    does."""

    def execute(self) -> None:
        error = self.request.error
        if not isinstance(error, Refused):
            text = one_line(f"{error.reason}: {error.body}")
            error = Refused.with_text(f"{error.code} {error.reason}", text)
        if not error.logged:
            self.channel.server.refused(self.channel, self.request, error.code)
        self.status = error.status
        self.response_headers += [
            (name, value) for name, value in error.headers if name != "Content-Length"
        ]
        self.set_close_on_finish()
        self.content_length = len(error.body)
        self.write(b"" if getattr(self.request, "command", "") == "HEAD" else error.body)


class ApplicationTask(_HeadKept, _Open, WSGITask):  # type: ignore[misc]
    """A request to the application. Through the environment, the application can reach the
    connection, and register callbacks for when the answer has been queued or dropped."""

    def __init__(self, channel: Any, request: Any) -> None:
        super().__init__(channel, request)
        self._when_answered: list[Callable[[], None]] = []

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[CONNECTION] = self.channel
        environ[KEY] = self.request.key
        environ[WHEN_ANSWERED] = self._when_answered.append
        return environ

    def service(self) -> None:
        try:
            super().service()
        finally:
            self.channel.is_refused = self.status.startswith(REFUSALS)
            for call in self._when_answered:
                call()


class Again:
    """The head of a repeated answer, as waitress would send it; rebuilt once a second because of
    its Date header."""

    __slots__ = ("_headers", "_made", "_size", "_status")

    def __init__(self, repeat: Repeat) -> None:
        self._status = status_line(repeat.status)
        self._headers = list(repeat.headers.items())
        self._size = len(repeat.body)
        self._made: tuple[int, Mapping[str, str], bytes] = (0, {}, b"")

    def head(self, request: Request, contact: Mapping[str, str]) -> bytes:
        """Return the head of the answer to a request that leaves its connection open; ``contact``
        has the headers about the store."""
        now = int(time.time())
        second, about, made = self._made  # in one step: several threads may be here
        if second != now or about is not contact:
            task = _Open(request.channel, request)
            task.start()
            task.status, task.content_length = self._status, self._size
            task.response_headers = [*self._headers, *contact.items()]
            made = task.build_response_header()
            self._made = now, contact, made
        return made
