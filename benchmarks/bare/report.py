"""Parses a report and makes one durable insert into SQLite: WAL with synchronous FULL.

The variable BENCHMARKS_DB names the database file.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from benchmarks.bare.lifespan import lifespan

_db = sqlite3.connect(os.environ["BENCHMARKS_DB"], isolation_level=None, check_same_thread=False)
_db.execute("PRAGMA journal_mode = WAL")
_db.execute("PRAGMA synchronous = FULL")
_db.execute("CREATE TABLE IF NOT EXISTS reports (node TEXT, body BLOB)")
_lock = threading.Lock()


def _keep(body: bytes) -> bytes:
    report = orjson.loads(body or b"{}")
    with _lock:
        done = _db.execute("INSERT INTO reports VALUES (?, ?)", (report.get("Name"), body))
    return orjson.dumps({"Index": done.lastrowid})


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    answer = _keep(environ["wsgi.input"].read())
    length = str(len(answer))
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", length)])
    return [answer]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        await lifespan(receive, send)
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = _keep(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
