"""The parameters ``since`` and ``until``: a time, or a time span before now."""

from __future__ import annotations

from collections.abc import Mapping

from plugind.api.endpoints import Given
from plugind.api.shapes import TEXT
from plugind.errors import BadRequest
from plugind.model.times import parse_duration, parse_time

TIME = {**TEXT, "example": "24h"}
SINCE_UNTIL = {
    "since": Given("only transitions since this time (RFC 3339), or in a span such as 24h", TIME),
    "until": Given("only transitions before this time, or older than a span such as 24h", TIME),
}


def moment(query: Mapping[str, str], name: str, now: int, default: int) -> int:
    """Return the time that a parameter gives, in nanoseconds since 1970. Raise BadRequest."""
    text = query.get(name, "")
    if not text:
        return default
    for parse in (parse_time, lambda text: now - parse_duration(text)):
        try:
            return parse(text)
        except ValueError:
            continue
    raise BadRequest(f"Invalid {name}: it is a time, as 2026-01-31T23:00:00Z, or a span, as 24h")
