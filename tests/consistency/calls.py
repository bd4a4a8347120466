"""HTTP calls of one client over its own connections, which another thread can abort."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

TIMEOUT = 3.0
"""Seconds that a client waits for an answer that should come immediately."""


class Lost(Exception):
    """No answer came; the request may or may not have been carried out."""


@dataclass(frozen=True, slots=True)
class Server:
    """A plugind server, and the address at which clients reach it."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Got:
    """An answer. ``connection`` numbers the client's connections, because a server's name does not
    say which of its worker processes answered."""

    status: int
    index: int
    body: bytes
    connection: int
    token: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Calls:
    """Make calls to servers, one at a time, and keep a connection to each. Any thread may end the
    current call with ``abort``."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[http.client.HTTPConnection, int]] = {}
        self._count = 0
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._aborted = False

    def call(
        self,
        server: Server,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> Got:
        """Return the answer to a request. Raise Lost if none comes."""
        try:
            number, response = self._ask(server, method, path, body, headers, timeout)
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.drop(server)
            raise Lost(f"{type(error).__name__}: {error}") from error
        if response.will_close:
            self.drop(server)
        found = response.headers
        index = int(found.get("X-Nomad-Index") or 0)
        return Got(response.status, index, data, number, found.get("X-Nomad-NextToken", ""))

    def open(
        self, server: Server, path: str, timeout: float
    ) -> tuple[int, http.client.HTTPResponse]:
        """Return the number of a new connection, and a response whose body has not been read yet.
        Raise Lost if no response comes."""
        self.drop(server)
        try:
            number, response = self._ask(server, "GET", path, None, None, timeout)
        except (OSError, http.client.HTTPException) as error:
            self.drop(server)
            raise Lost(f"{type(error).__name__}: {error}") from error
        return number, response

    def _ask(
        self,
        server: Server,
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str] | None,
        timeout: float,
    ) -> tuple[int, http.client.HTTPResponse]:
        connection, number = self._connected(server, timeout)
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, dict(headers or {}))
        return number, connection.getresponse()

    def _connected(self, server: Server, timeout: float) -> tuple[http.client.HTTPConnection, int]:
        connection, number = self._kept.get(server.name, (None, 0))
        if connection is None:
            self._count += 1
            number = self._count
            connection = http.client.HTTPConnection(server.address, timeout=TIMEOUT)
            self._kept[server.name] = connection, number
            connection.connect()
        with self._lock:
            self._socket = connection.sock
            if self._aborted:
                raise ConnectionAbortedError("the run is over")
        if connection.sock is None:
            raise ConnectionResetError("the server closed the connection")
        connection.sock.settimeout(timeout)
        return connection, number

    def drop(self, server: Server) -> None:
        """Close the connection to a server."""
        connection, _ = self._kept.pop(server.name, (None, 0))
        if connection is not None:
            connection.close()

    def abort(self) -> None:
        """End the current call, and every later one."""
        with self._lock:
            self._aborted = True
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for connection, _ in self._kept.values():
            connection.close()
        self._kept.clear()
