"""Replies of any media type, whole or streamed, over the real HTTP server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from plugind.api import TABLE
from plugind.api.endpoints import Call, Endpoints, no_token
from plugind.api.flask_port import Api
from plugind.api.reply import Reply
from plugind.api.shapes import TEXT
from plugind.serve.application import flow_of, notes_of, repeats_of
from plugind.serve.listening import listen
from plugind.serve.parking import Threads
from plugind.serve.services import Services
from plugind.serve.wiring import waitress_server
from plugind.testing.serving import load
from tests.promises import PATIENCE

endpoints: Endpoints[None] = Endpoints(type(None))
goes_on = threading.Event()


@endpoints("GET", "/v1/test/parts", need=no_token, answer=TEXT)
def parts(call: Call[None]) -> Reply:
    """Answer with one part, and with another once a test allows it."""

    def made() -> Iterator[bytes]:
        yield b"one\n"
        assert goes_on.wait(PATIENCE)
        yield b"two\n"

    return Reply(made(), content_type="application/x-ndjson")


@endpoints("GET", "/v1/test/page", need=no_token, answer=TEXT)
def page(call: Call[None]) -> Reply:
    """Answer with a whole body that is not JSON."""
    return Reply(b"<p>", content_type="text/html")


@contextmanager
def served(folder: Path) -> Iterator[HTTPConnection]:
    """Serve the API with this module's endpoints in addition to its own; yield a connection."""
    settings, registry = load(folder, "", {"server_enabled": "true"})
    services = Services(settings, registry, folder)
    threads = Threads()
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        flow = flow_of(services, f"127.0.0.1:{port}", threads.signal, {}, {})
        table, notes = (*TABLE, *endpoints.table), notes_of(services)
        app = Api("test", flow, table, repeats_of(services, flow, notes), notes, threads)
        server = waitress_server(services, app, sock)
        server.start()
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            yield connection
        finally:
            connection.close()
            services.wake()
            server.stop()
            services.close()


def test_parts_are_sent_as_they_are_made(tmp_path: Path) -> None:
    """Send parts without indenting or compressing them, whatever the client accepts."""
    goes_on.clear()
    with served(tmp_path) as connection:
        connection.request("GET", "/v1/test/parts?pretty", headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        assert answer.headers["Content-Length"] is None
        assert answer.headers["Content-Encoding"] is None
        assert answer.readline() == b"one\n", "before the second part is made"
        goes_on.set()
        assert answer.read() == b"two\n"


def test_any_media_type(tmp_path: Path) -> None:
    with served(tmp_path) as connection:
        connection.request("GET", "/v1/test/page?pretty")
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "text/html"
        assert answer.read() == b"<p>"
