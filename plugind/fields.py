"""Marshmallow fields and schemas for what configuration and the wire share.

Go durations, RFC 3339 times with nanoseconds, IDs, bounded text and numbers, and schemas that load
into frozen records.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from marshmallow import RAISE, Schema, ValidationError, fields, post_load

INT64_MAX = 2**63 - 1
SECOND = 1_000_000_000
ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

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
_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"[+-]?(?:0|(?:{_PART})+)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def parse_duration(text: str) -> int:
    """Nanoseconds of a Go duration (``1h30m``, ``250ms``, ``-1.5s``, ``0``).

    Raises ValueError when the text is none, or is beyond what Go's int64 holds
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
    """The text that Go prints for a duration (``1m30s``, ``1.5s``, ``0s``)."""
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
    """RFC 3339 in UTC with as many digits of the second as are needed, as Go prints times."""
    seconds, part = divmod(nanoseconds, SECOND)
    text = (_EPOCH + timedelta(seconds=seconds)).isoformat().removesuffix("+00:00")
    return f"{text}.{part:09d}".rstrip("0") + "Z" if part else f"{text}Z"


def parse_time(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time, from 1970 to 2262 (what an int64 holds).

    Raises ValueError when the text is none.
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


def parse_bool(text: str) -> bool:
    """What Go reads as true or false (https://pkg.go.dev/strconv#ParseBool). Raises ValueError."""
    if text not in _BOOLS:
        raise ValueError(f"neither true nor false: {text[:64]!r}")
    return _BOOLS[text]


def tame(text: str, maximum: int) -> str:
    """A stranger's text, fit to be stored and told: one line, bounded, and without the lone
    surrogates that UTF-8 cannot hold."""
    return " ".join(text[: 2 * maximum].split())[:maximum].encode(errors="replace").decode()


class Duration(fields.Field[float]):
    """A Go duration, loaded to seconds (float). ``minimum`` and ``maximum`` are in seconds."""

    def __init__(self, *, minimum: float = 0.0, maximum: float = 1e9, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.minimum = minimum
        self.maximum = maximum

    def _serialize(self, value: float | None, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return None if value is None else format_duration(round(value * SECOND))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if not isinstance(value, str):
            raise ValidationError('must be a duration in quotes, such as "30s" or "1h30m".')
        try:
            seconds = parse_duration(value) / SECOND
        except ValueError as error:
            raise ValidationError('must be a duration, such as "30s" or "1h30m".') from error
        if not self.minimum <= seconds <= self.maximum:
            low, high = (format_duration(round(v * SECOND)) for v in (self.minimum, self.maximum))
            raise ValidationError(f"must be from {low} to {high}.")
        return seconds


class Time(fields.Field[int]):
    """An RFC 3339 time with nanoseconds in UTC; an integer, nanoseconds since the epoch, inside."""

    def _serialize(self, value: int | None, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return None if value is None else format_time(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        try:
            return parse_time(value)
        except (ValueError, TypeError) as error:
            raise ValidationError(
                "must be an RFC 3339 time from 1970 on, such as 2026-01-31T23:00:00.5Z."
            ) from error


class Text(fields.String):
    """Unicode text of bounded length; lone surrogates, which UTF-8 cannot hold, are refused."""

    def __init__(self, *, maximum: int = 1024, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.maximum = maximum

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("must be a string.")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValidationError("must be valid Unicode.") from error
        if len(value) > self.maximum:
            raise ValidationError(f"must have at most {self.maximum} characters.")
        return value


class Flag(fields.Field[bool]):
    """true or false, and nothing that merely looks like it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("must be true or false.")
        return value


class Number(fields.Field[int]):
    """A whole number from ``minimum`` to ``maximum``; neither a bool nor a string of digits."""

    def __init__(self, *, minimum: int = 0, maximum: int = INT64_MAX, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.minimum = minimum
        self.maximum = maximum

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValidationError("must be a whole number.")
        if not self.minimum <= value <= self.maximum:
            raise ValidationError(f"must be from {self.minimum} to {self.maximum}.")
        return value


class Identifier(Text):
    """The ID of a plugin: letters, digits, dot, dash, underscore."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if not ID_PATTERN.fullmatch(text):
            raise ValidationError(
                "must be 1 to 128 letters, digits, dots, dashes or underscores, "
                "starting with a letter or digit."
            )
        return text


def is_node_id(text: str) -> bool:
    """Whether the text is a UUID in its canonical form: 36 characters, lower case."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


class Record(Schema):
    """A schema that refuses unknown keys and loads into ``record``, a frozen dataclass."""

    record: ClassVar[type[Any] | None] = None

    class Meta:
        unknown = RAISE

    @post_load
    def _freeze(self, data: Mapping[str, Any], **kwargs: Any) -> Any:
        return data if self.record is None else self.record(**data)
