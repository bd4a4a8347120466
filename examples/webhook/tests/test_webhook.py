"""Changes are posted to a real HTTP server, and failures are raised without the URL."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import plugind_webhook
import pytest
from plugind_webhook import NotTaken, plugind_changed

from plugind.model import UNHEALTHY, CatalogueChange, InstanceChange

CHANGE = CatalogueChange(
    7,
    1_764_000_000_000_000_000,
    (InstanceChange(UNHEALTHY, "csi", "ebs0", "node", "an-id", "vm1", False, "disk on fire"),),
    missed=2,
)


class Receiver(HTTPServer):
    """Keeps the bodies that are posted, and answers with ``status``."""

    def __init__(self) -> None:
        self.posted: list[Any] = []
        self.status = 204
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/secret"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with Receiver() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv(plugind_webhook.URL, made.url)
        yield made
        made.shutdown()
        thread.join()


def test_a_change_is_posted(receiver: Receiver) -> None:
    plugind_changed(CHANGE)
    ((path, document),) = receiver.posted
    assert path == "/secret"
    assert (document["index"], document["time"], document["missed"]) == (7, CHANGE.time, 2)
    assert document["instances"] == [
        {
            "kind": "unhealthy",
            "type": "csi",
            "id": "ebs0",
            "role": "node",
            "node_id": "an-id",
            "node": "vm1",
            "healthy": False,
            "reason": "disk on fire",
        }
    ]


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_refused_change_raises(receiver: Receiver, status: int) -> None:
    receiver.status = status
    with pytest.raises(NotTaken, match=f"answered with {status}"):
        plugind_changed(CHANGE)


def test_a_url_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugind_webhook.URL, "http://127.0.0.1:1/secret")
    with pytest.raises(NotTaken, match="could not be reached") as caught:
        plugind_changed(CHANGE)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_without_a_url_nothing_is_done(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(plugind_webhook.URL)
    plugind_changed(CHANGE)
    assert receiver.posted == []
