"""A bare application on plugind's HTTP server, and a client that sends raw bytes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from plugind.api.wsgi import CONNECTION
from plugind.health import Hits
from plugind.serve.channel import Channel
from plugind.serve.http_server import HeadCheck, Server
from plugind.serve.limits import ConnectionLimits
from plugind.serve.listening import listen
from plugind.serve.request import Request
from tests.promises import PATIENCE

LARGE = b"x" * 200_000


@dataclass
class Bare:
    """A server whose application answers according to the path, and its counters. With ``stays``, a
    parked request goes on after its client has left."""

    port: int
    server: Server
    hits: Hits
    release: threading.Event = field(default_factory=threading.Event)
    parked: int = 0
    gone: int = 0
    stays: bool = False
    refused: list[tuple[str, int]] = field(default_factory=list)

    @property
    def channels(self) -> list[Channel]:
        return list(self.server._http.active_channels.values())

    def application(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        path, body = environ["PATH_INFO"], environ["wsgi.input"].read()
        answer = {"/large": LARGE, "/echo": b"%d" % len(body)}.get(path, path.encode())
        if path == "/park":
            self._park(environ["waitress.client_disconnected"])
        if path == "/busy":
            self.release.wait()
        if path == "/agent":
            environ[CONNECTION].verified_node()
        if path == "/parts":
            start_response("200 OK", [])
            return [LARGE] * 50
        status = "403 Forbidden" if path == "/forbidden" else "200 OK"
        start_response(status, [("Content-Length", str(len(answer)))])
        return [answer]

    def _park(self, is_gone: Callable[[], bool]) -> None:
        self.parked += 1
        while not ((is_gone() and not self.stays) or self.release.wait(0.01)):
            pass
        self.gone += is_gone()

    def connect(self, source: str = "127.0.0.1", **options: int) -> socket.socket:
        """Return a connection from a loopback address; ``options`` are socket-level options."""
        sock = socket.socket()
        for name, value in options.items():
            sock.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        sock.bind((source, 0))
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def ask(self, path: str, source: str = "127.0.0.1", method: str = "GET") -> bytes:
        """Return a whole answer, read over a new connection."""
        with self.connect(source) as sock:
            sock.sendall(f"{method} {path} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
            return rest(sock)


def get(path: str, *headers: str) -> bytes:
    """Return the bytes of a request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", *headers, "", ""]).encode()


def until(sock: socket.socket, end: bytes) -> bytes:
    """Return the bytes received until they end with ``end``, or the connection ends."""
    got = b""
    while not got.endswith(end) and (data := sock.recv(2**16)):
        got += data
    return got


def rest(sock: socket.socket) -> bytes:
    """Return everything received until the server ends the connection."""
    return b"".join(iter(lambda: sock.recv(2**16), b""))


def is_closed(sock: socket.socket) -> bool:
    """Return whether the server ended the connection; wait until it does or sends bytes."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


@contextmanager
def bare(
    *,
    threads: int = 4,
    send_buffer: int = 0,
    check_head: HeadCheck | None = None,
    **limits: Any,
) -> Iterator[Bare]:
    """Serve a bare application with ``threads`` in addition to the usual ones, and the given
    limits.

    With ``send_buffer`` the kernel holds only about that many bytes that a client does not read,
    however far it would otherwise grow the buffers of its connections.
    """
    hits = Hits()
    with listen("127.0.0.1", 0) as sock:
        if send_buffer:  # connections inherit it: socket(7)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            return made.application(environ, start_response)

        def log_refused(channel: Channel, request: Request, status: int) -> None:
            made.refused.append((channel.address, status))

        server = Server(
            application,
            sock,
            max_parked=threads,
            limits=ConnectionLimits(**limits),
            hits=hits,
            check_head=check_head,
            log_refused=log_refused,
            accessor_of_secret=lambda secret: "a token" if secret == "a secret" else "",
        )
        made = Bare(sock.getsockname()[1], server, hits)
        server.start()
        try:
            yield made
        finally:
            made.release.set()
            if not server._ended.is_set():
                server.stop(5)


def elapsed(run: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.monotonic()
    run()
    return time.monotonic() - started
