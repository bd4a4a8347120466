"""A small real HTTP server that answers agents as a plugind does, or wrongly on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECOND = 1_000_000_000

Wrong = tuple[int, bytes]


class FakeServer:
    """Accept reports and heartbeats, and keep them in order of arrival.

    ``wrong(path)`` may return a status and body to answer instead, with ``retry_after`` as a header
    unless that is ""; a redirection leads ``elsewhere``.
    """

    def __init__(self, port: int = 0) -> None:
        self.reports: list[Any] = []
        self.beats: list[Any] = []
        self.left: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.calls = 0
        self.ttl = 30 * SECOND
        self.rejected: list[Any] = []
        self.elsewhere = ""
        self.wrong: Callable[[str], Wrong | None] = lambda path: None
        self.retry_after = ""
        self._server = _server(self, port)
        self.port = self._server.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self._open = True

    def close(self) -> None:
        """Stop answering, even on open connections."""
        if self._open:
            self._open = False
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Wrong:
        self.calls += 1
        self.times.append(time.monotonic())
        if not self._open:
            return 503, b"closed"
        if wrong := self.wrong(path):
            return wrong
        self.headers.append(headers)
        if method == "DELETE":
            self.left.append(path.rpartition("/")[2])
            return 200, b'{"Index": 2}'
        (self.beats if path.endswith("/heartbeat") else self.reports).append(json.loads(body))
        answer = {"Index": 1, "HeartbeatTTL": self.ttl, "Digest": "d1"}
        return 200, json.dumps(answer | {"Rejected": self.rejected}).encode()


def _server(fake_server: FakeServer, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, text = fake_server.answer(self.command, self.path, body, dict(self.headers))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.send_header("Cache-Control", "private, no-cache")
            if status >= 400 and fake_server.retry_after:
                self.send_header("Retry-After", fake_server.retry_after)
            if 300 <= status < 400:
                self.send_header("Location", fake_server.elsewhere + self.path)
            self.end_headers()
            with suppress(ConnectionError):  # the client may close early
                self.wfile.write(text)

        do_DELETE = do_PUT

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)
