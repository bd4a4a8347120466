"""A client that sends raw bytes to a server, over TCP or a Unix socket."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from tests.promises import PATIENCE

_STATUS = re.compile(rb"^HTTP/1\.1 (\d{3})", re.M)


def connect(address: str | Path) -> socket.socket:
    """Return a connection to a server, given its URL or the path of its socket."""
    if isinstance(address, Path):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        try:
            sock.connect(str(address))
        except OSError:
            sock.close()
            raise
        return sock
    parts = urlsplit(address)
    return socket.create_connection((parts.hostname, parts.port), PATIENCE)


def exchange(address: str | Path, data: bytes) -> bytes:
    """Send bytes; return everything received until the server closes the connection."""
    with connect(address) as sock:
        with suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
        return rest(sock)


def rest(sock: socket.socket) -> bytes:
    """Return everything received until the server closes the connection."""
    parts = []
    with suppress(ConnectionResetError):
        while part := sock.recv(2**16):
            parts.append(part)
    return b"".join(parts)


def until(sock: socket.socket, end: bytes) -> bytes:
    """Return the bytes received until they contain ``end``, or until the server closes the
    connection."""
    found = b""
    while end not in found and (part := sock.recv(2**16)):
        found += part
    return found


def statuses(data: bytes) -> list[int]:
    """Return the statuses of the answers in the received bytes."""
    return [int(each) for each in _STATUS.findall(data)]


def head(method: str, path: str, *lines: str) -> bytes:
    """Return the head of a request with additional header lines; it asks to close the connection
    unless a line says otherwise."""
    first = [f"{method} {path} HTTP/1.1", "Host: plugind"]
    last = [] if any(line.startswith("Connection:") for line in lines) else ["Connection: close"]
    return "\r\n".join([*first, *lines, *last, "", ""]).encode()


def chunked(*parts: bytes) -> bytes:
    """Return a body in chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))
