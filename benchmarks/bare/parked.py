"""Parks requests with an index until any PUT arrives, then answers with plugind's own bytes.

Each PUT sends the file ``event`` to all streams. ``/v1/agent/self`` reports the number of waiting
requests in the same form as plugind's. Everything else is as in ``benchmarks.bare.answer``.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.bare import answer

_FILE = Path(os.environ["BENCHMARKS_ANSWER"]) / "event"
_EVENT = _FILE.read_bytes() if _FILE.exists() else b""
_SELF = "/v1/agent/self"
_STREAM = "/v1/event/stream"
_OK = ("200 OK", [("Content-Type", "application/json")])


class _Places:
    """The number of waiting queries and streams, and the changes that they wait for."""

    waiting = 0
    changes = 0
    changed = threading.Condition()
    event: asyncio.Event | None = None


def _self() -> bytes:
    return b'{"stats":{"plugind":{"parked":"%d"}}}' % _Places.waiting


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if environ["REQUEST_METHOD"] == "PUT":
        environ["wsgi.input"].read()
        start_response(*_OK)
        with _Places.changed:
            _Places.changes += 1
            _Places.changed.notify_all()
        return [b'{"Index": 1}']
    if path == _SELF:
        start_response(*_OK)
        return [_self()]
    if path == _STREAM:
        start_response(*_OK)
        return _events()
    if "index=" in query:
        _wait()
    return answer.wsgi(environ, start_response)


def _wait(before: int | None = None) -> int:
    """Wait until the number of changes is not ``before``, by default the current one; return it."""
    with _Places.changed:
        before = _Places.changes if before is None else before
        _Places.waiting += 1
        _Places.changed.wait_for(lambda: _Places.changes != before)
        _Places.waiting -= 1
        return _Places.changes


def _events() -> Iterator[bytes]:
    seen = _Places.changes
    yield b"{}\n"
    while True:
        seen = _wait(seen)
        yield _EVENT


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        await answer.asgi(scope, receive, send)
    elif scope["method"] == "PUT":
        while (await receive()).get("more_body"):
            pass
        event, _Places.event = _Places.event, None
        _Places.changes += 1
        if event is not None:
            event.set()
        await _send(send, b'{"Index": 1}')
    elif scope["path"] == _SELF:
        await _send(send, _self())
    elif scope["path"] == _STREAM:
        await _stream(send)
    else:
        if b"index=" in scope["query_string"]:
            await _parked()
        await answer.asgi(scope, receive, send)


async def _parked() -> None:
    if _Places.event is None:
        _Places.event = asyncio.Event()
    _Places.waiting += 1
    try:
        await _Places.event.wait()
    finally:
        _Places.waiting -= 1


async def _send(send: Any, body: bytes) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    seen = _Places.changes
    await send({"type": "http.response.body", "body": b"{}\n", "more_body": True})
    while True:
        if seen == _Places.changes:
            await _parked()
        seen = _Places.changes
        await send({"type": "http.response.body", "body": _EVENT, "more_body": True})
