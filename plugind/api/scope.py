"""Reads requests from ASGI scopes (ASGI 3.0, HTTP)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from plugind.api.request import Connection, Request
from plugind.api.wsgi import parameters_of
from plugind.wire.addresses import Networks, client_of

Scope = Mapping[str, Any]


class Headers:
    """The headers of a request; those that came more than once are joined by commas."""

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._texts: dict[str, str] = {}
        for name_bytes, value_bytes in pairs:
            name, value = name_bytes.decode("latin1").lower(), value_bytes.decode("latin1")
            known = self._texts.get(name)
            self._texts[name] = value if known is None else f"{known}, {value}"

    def get(self, name: str, default: str = "", /) -> str:
        """Return the value of a header, by name in any case."""
        return self._texts.get(name.lower(), default)


class Body:
    """A body that was read."""

    def __init__(self, content: bytes = b"") -> None:
        self._content = content
        self._at = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes, ``size`` at most."""
        part = self._content[self._at : self._at + size]
        self._at += len(part)
        return part


class Head:
    """The head of a request.

    ``target`` is the path as the client sent it. ``remote`` is the address at the other end of the
    connection, "" for a Unix socket. ``has_two_lengths``: it has both Content-Length and
    Transfer-Encoding, so that clients and proxies may disagree about where it ends (RFC 9112,
    section 6.1).
    """

    def __init__(self, scope: Scope, trusted: Networks = ()) -> None:
        self.method: str = scope["method"]
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        raw = raw.partition(b"?")[0]  # a server may leave the query at its end
        self.target = raw.decode("latin1")
        self._path = "/" + unquote_to_bytes(raw).decode(errors="replace").lstrip("/")
        self._parameters = parameters_of(scope["query_string"].decode("latin1"))
        self.headers = Headers(scope["headers"])
        client = scope.get("client")
        # On "::" a client that came over IPv4 has a mapped address (RFC 4291, section 2.5.5.2).
        self.remote = ((client and client[0]) or "").removeprefix("::ffff:")
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
        """Return the request, with its whole body (None: it was not read yet)."""
        return Request(
            method=self.method,
            path=self._path,
            query=dict(reversed(self._parameters)),  # of each the first
            headers=self.headers,
            parameters=self._parameters,
            remote=self.remote,
            client=self.client,
            content_length=self.length if body is None else len(body),
            read=Body(body or b"").read,
            connection=connection,
        )
