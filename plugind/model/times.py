"""Times and durations as integers of nanoseconds, and as texts: Go's durations, RFC 3339."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

INT64_MAX = 2**63 - 1
SECOND = 1_000_000_000

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
}
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"[+-]?(?:0|(?:{_PART})+)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def parse_duration(text: str) -> int:
    """Return the nanoseconds of a Go duration (``1h30m``, ``250ms``, ``-1.5s``, ``0``).

    Raise ValueError when the text is not a duration, or is out of range of Go's int64
    (https://pkg.go.dev/time#ParseDuration).
    """
    if len(text) > 64 or not _DURATION.fullmatch(text):
        raise ValueError(f"not a duration: {text[:64]!r}")
    total = 0
    for number, unit in re.findall(_PART, text):
        whole, _, part = number.partition(".")
        scale = _UNITS[unit]
        total += int(whole or 0) * scale + int(part or 0) * scale // 10 ** len(part)
    if total > INT64_MAX:
        raise ValueError(f"duration out of range: {text!r}")
    return -total if text.startswith("-") else total


def format_duration(nanoseconds: int) -> str:
    """Return a duration as Go prints it (``1m30s``, ``1.5s``, ``0s``)."""
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < SECOND:
        for unit, scale in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if rest >= scale:
                return f"{sign}{_decimal(rest, scale)}{unit}"
        return "0s"
    minutes, rest = divmod(rest, 60 * SECOND)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, SECOND)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    if hours:
        text = f"{hours}h{text}"
    return sign + text


def _decimal(value: int, scale: int) -> str:
    whole, part = divmod(value, scale)
    digits = f"{part:0{len(str(scale)) - 1}d}".rstrip("0") if part else ""
    return f"{whole}.{digits}" if digits else str(whole)


def format_time(nanoseconds: int) -> str:
    """Return a time as RFC 3339 in UTC, with as many digits of the second as Go would print."""
    seconds, part = divmod(nanoseconds, SECOND)
    text = _to_the_second(seconds)
    return f"{text}.{part:09d}".rstrip("0") + "Z" if part else f"{text}Z"


@lru_cache(maxsize=1024)
def _to_the_second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat().removesuffix("+00:00")


def time_text(nanoseconds: int) -> str:
    """Return a time as it appears in sentences: RFC 3339 in UTC, rounded down to the second.

    Reasons, status descriptions and messages use this; JSON fields use ``format_time``.
    """
    return format_time(nanoseconds - nanoseconds % SECOND)


def parse_time(text: str) -> int:
    """Return the nanoseconds since the epoch of an RFC 3339 time, from 1970 to 2262.

    These are the years that an int64 can hold.

    Raise ValueError when the text is not such a time.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 time: {text[:64]!r}")
    day, clock, part, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{zone.upper().replace('Z', '+00:00')}")
        whole = (moment - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"not an RFC 3339 time: {text!r}") from error
    nanoseconds = whole * SECOND + int((part or "").ljust(9, "0"))
    if not 0 <= nanoseconds <= INT64_MAX:
        raise ValueError(f"time out of range: {text!r}")
    return nanoseconds
