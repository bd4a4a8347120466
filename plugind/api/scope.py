"""Reads requests from ASGI scopes (ASGI 3.0, HTTP)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from plugind.api.repeats import key_of
from plugind.api.request import Connection, Request
from plugind.api.wsgi import parameters_of
from plugind.client import NODE_SECRET_HEADER
from plugind.wire.addresses import Networks, client_of

Scope = Mapping[str, Any]


_TOKEN, _AUTHORIZATION = b"x-nomad-token", b"authorization"
_ENCODING, _MATCH = b"accept-encoding", b"if-none-match"
_NODE_SECRET = NODE_SECRET_HEADER.lower().encode()
_SHORT = 16 * 2**10  # bytes of headers that every server accepts
_OF_BODY = frozenset({b"content-length", b"transfer-encoding"})
_OF_KEY = frozenset({_TOKEN, _AUTHORIZATION, _ENCODING, _MATCH, _NODE_SECRET}) | _OF_BODY


def key_in(scope: Scope) -> Hashable:
    """Return the key that the answer to a read is kept under. Return None if the request is not a
    read, has a body, has one of the headers of the key twice, or may have too long a head."""
    found: dict[bytes, bytes] = {}
    size = 0
    for name, value in scope["headers"]:
        size += len(name) + len(value)
        if name in _OF_KEY:
            if name in found or name in _OF_BODY:
                return None
            found[name] = value
    if size > _SHORT:
        return None
    get = found.get
    return key_of(
        scope["method"],
        scope.get("raw_path") or scope["path"],
        scope["query_string"],
        get(_ENCODING, b""),
        get(_MATCH, b""),
        get(_TOKEN, b""),
        get(_AUTHORIZATION, b""),
        _NODE_SECRET in found,
    )


class Headers:
    """The headers of a request; the values of one that came more than once are joined by commas."""

    __slots__ = ("_texts",)

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._texts: dict[str, str] = {}
        for name_bytes, value_bytes in pairs:
            name, value = name_bytes.decode("latin1").lower(), value_bytes.decode("latin1")
            known = self._texts.get(name)
            self._texts[name] = value if known is None else f"{known}, {value}"

    def get(self, name: str, default: str = "", /) -> str:
        """Return the value of a header, by name in any case."""
        return self._texts.get(name.lower(), default)


def remote_of(scope: Scope) -> str:
    """Return the address at the other end of the connection, "" for a Unix socket."""
    client = scope.get("client")
    # A server on "::" sees IPv4 clients by mapped addresses (RFC 4291, section 2.5.5.2).
    return ((client and client[0]) or "").removeprefix("::ffff:")


def forwarded_in(scope: Scope) -> str:
    """Return the header X-Forwarded-For, in which proxies name their clients."""
    return Headers(scope["headers"]).get("x-forwarded-for")


class Body:
    """A body that has already been received."""

    __slots__ = ("_at", "_content")

    def __init__(self, content: bytes = b"") -> None:
        self._content = content
        self._at = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most ``size``."""
        part = self._content[self._at : self._at + size]
        self._at += len(part)
        return part


class Head:
    """The head of a request.

    ``target`` is the path as the client sent it. ``remote`` is the address at the other end of the
    connection, "" for a Unix socket. ``size`` is in bytes, roughly. ``has_two_lengths``: it has
    both Content-Length and Transfer-Encoding, so clients and proxies may disagree about where the
    request ends (RFC 9112, section 6.1).
    """

    __slots__ = (
        "_parameters",
        "_path",
        "client",
        "expects_continue",
        "has_two_lengths",
        "headers",
        "is_chunked",
        "length",
        "method",
        "remote",
        "size",
        "target",
    )

    def __init__(self, scope: Scope, trusted: Networks = ()) -> None:
        self.method: str = scope["method"]
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        raw = raw.partition(b"?")[0]  # some servers leave the query at its end
        self.target = raw.decode("latin1")
        self._path = "/" + unquote_to_bytes(raw).decode(errors="replace").lstrip("/")
        self._parameters = parameters_of(scope["query_string"].decode("latin1"))
        self.headers = Headers(scope["headers"])
        self.size = len(raw) + len(scope["query_string"])
        self.size += sum(len(name) + len(value) for name, value in scope["headers"])
        self.remote = remote_of(scope)
        self.client = client_of(self.remote, self.headers.get("x-forwarded-for"), trusted)
        length = self.headers.get("content-length")
        self.length = int(length) if length.isascii() and length.isdigit() else 0
        self.is_chunked = bool(self.headers.get("transfer-encoding"))
        self.has_two_lengths = self.is_chunked and bool(length)
        self.expects_continue = self.headers.get("expect").lower() == "100-continue"

    @property
    def has_body(self) -> bool:
        """Return whether a body follows."""
        return self.is_chunked or self.length > 0

    @property
    def path(self) -> str:
        """Return the path, decoded."""
        return self._path

    def request(self, body: bytes | None, connection: Connection) -> Request:
        """Return the request, with its whole body (None: not read yet)."""
        return Request(
            method=self.method,
            path=self._path,
            query=dict(reversed(self._parameters)),  # the first value of each
            headers=self.headers,
            parameters=self._parameters,
            remote=self.remote,
            client=self.client,
            content_length=self.length if body is None else len(body),
            read=Body(body or b"").read,
            connection=connection,
        )
