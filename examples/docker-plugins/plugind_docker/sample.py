"""A small real Docker plugin, for tests: ``python -m plugind_docker.sample SOCKET [SUBSYSTEM]...``.

It listens on a unix socket, and implements the given subsystems (by default VolumeDriver).
"""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, UnixStreamServer
from threading import Event
from typing import Any


class SamplePlugin(ThreadingMixIn, UnixStreamServer):
    """Answers with ``status`` and ``body``, but not before ``go`` is set."""

    daemon_threads = True

    def __init__(self, path: str, implements: list[str]) -> None:
        self.status = 200
        self.body = json.dumps({"Implements": implements}).encode()
        self.go = Event()
        self.go.set()
        self.asked: list[str] = []
        super().__init__(path, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: SamplePlugin

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(f"{self.path} {self.headers['Accept']}")
        self.server.go.wait()
        known = self.path == "/Plugin.Activate"
        body = self.server.body if known else b"no such call"
        self.send_response(self.server.status if known else 404)
        self.send_header("Content-Type", "application/vnd.docker.plugins.v1.2+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "docker"

    def log_message(self, format: str, *args: Any) -> None:
        pass


def main() -> None:
    path, *implements = sys.argv[1:]
    if os.path.exists(path):
        os.unlink(path)
    SamplePlugin(path, implements or ["VolumeDriver"]).serve_forever()


if __name__ == "__main__":
    main()
