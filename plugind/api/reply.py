"""What views return, and the one place where it becomes an HTTP response."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response, request

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_PHRASES = {each.value: each.phrase for each in HTTPStatus} | {499: "Client Closed Request"}
_GZIP_LEVEL = 4  # beyond it lists get little smaller, and take much longer


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a body of ``content_type``, and the index it is from (None: it has none).

    ``version`` identifies what the body is made of, for the ETag; "" where none can be given.
    """

    body: bytes
    status: int = 200
    index: int | None = None
    content_type: str = _JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    version: str = ""


def json_reply(value: Any, index: int | None = None) -> Reply:
    """An answer of a value, with sorted keys and no spaces."""
    return Reply(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), index=index)


def error_reply(
    text: str, status: int, index: int | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """An error: one line of text."""
    body = " ".join(text.split()).encode(errors="replace")
    return Reply(body, status, index, _TEXT, headers or {})


def response_of(reply: Reply) -> Response:
    """The reply as HTTP, as the current request would have it: pretty, packed, or not at all
    where the client has it already (RFC 9110, sections 12.5.3 and 13.1.2)."""
    headers = {
        "Vary": "Accept-Encoding",
        "Cache-Control": "private, no-cache",
        **_index_headers(reply),
        **reply.headers,
    }
    is_pretty = reply.content_type == _JSON and _wants_pretty()
    is_packed = bool(reply.body) and request.accept_encodings.quality("gzip") > 0
    if reply.version:
        tag = reply.version + "-pretty" * is_pretty + "-gzip" * is_packed
        headers["ETag"] = f'"{tag}"'
        if request.if_none_match.contains_weak(tag):
            return _response(b"", 304, headers)
    if reply.content_type:
        headers["Content-Type"] = reply.content_type
    body = _pretty(reply.body) if is_pretty else reply.body
    if is_packed:
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
    return _response(body, reply.status, headers)


def _response(body: bytes, status: int, headers: Mapping[str, str]) -> Response:
    # Flask's own phrases are all in capitals.
    response = Response(body, f"{status} {_PHRASES.get(status, 'Unknown')}")
    if "Content-Type" not in headers:
        del response.headers["Content-Type"]  # Flask has set one of its own
    response.headers.update(headers)
    return response


def _index_headers(reply: Reply) -> dict[str, str]:
    if reply.index is None:
        return {}
    return {
        "X-Nomad-Index": str(reply.index),
        "X-Nomad-KnownLeader": "true",
        "X-Nomad-LastContact": "0",
    }


def _wants_pretty() -> bool:
    """As Nomad reads it: ``pretty`` alone will do, and 0 takes it back."""
    return request.args.get("pretty", "0") != "0"


def _pretty(body: bytes) -> bytes:
    """Indented by four spaces, with a newline at the end; keys stay in their order."""
    return json.dumps(json.loads(body), indent=4, ensure_ascii=False).encode() + b"\n"
