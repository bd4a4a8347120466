"""Answers every request with the status, headers and body of a recorded answer of plugind.

They are read from ``head.json`` and ``body`` in the folder named by the variable BENCHMARKS_ANSWER.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.bare.lifespan import lifespan

_FOLDER = Path(os.environ["BENCHMARKS_ANSWER"])
_HEAD = json.loads((_FOLDER / "head.json").read_text())
_BODY = (_FOLDER / "body").read_bytes()
_STATUS = f"{_HEAD['status']} {_HEAD['reason']}"
_HEADERS = [(name, value) for name, value in _HEAD["headers"]]
_START = {
    "type": "http.response.start",
    "status": _HEAD["status"],
    "headers": [(name.lower().encode(), value.encode()) for name, value in _HEADERS],
}
_CONTENT = {"type": "http.response.body", "body": _BODY}


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response(_STATUS, _HEADERS)
    return [_BODY]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send(_START)
        await send(_CONTENT)
    else:
        await lifespan(receive, send)
