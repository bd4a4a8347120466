"""Marshmallow fields and schemas for configuration and the API.

They cover Go durations, RFC 3339 times with nanoseconds, IDs, bounded text and numbers, and schemas
that load into frozen dataclasses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import RAISE, Schema, ValidationError, fields, post_load

from plugind.model.times import (
    INT64_MAX,
    SECOND,
    format_duration,
    format_time,
    parse_duration,
    parse_time,
)

ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


def parse_bool(text: str) -> bool:
    """Return the Boolean that Go parses from a text (https://pkg.go.dev/strconv#ParseBool).

    Raise ValueError for any other text.
    """
    if text not in _BOOLS:
        raise ValueError(f"neither true nor false: {text[:64]!r}")
    return _BOOLS[text]


class Duration(fields.Field[float]):
    """A Go duration, loaded as seconds (float); ``minimum`` and ``maximum`` are in seconds."""

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
    """An RFC 3339 time in UTC with nanoseconds, loaded as nanoseconds since the epoch (int)."""

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
    """A Boolean: true or false, not a number or text that resembles it."""

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


class Whole(Number):
    """A whole number that JSON may also write as 7.0, as JSON Schema allows for integers."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return super()._deserialize(value, attr, data, **kwargs)


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


class BlocksByRole(fields.Nested):
    """The blocks of a schema under one label, distinguished by their ``role``.

    One block, or a list of blocks, loads into a tuple. If there are several blocks, each needs a
    different role.
    """

    def _deserialize(  # type: ignore[override]
        self, value: Any, attr: str | None, data: Any, **kwargs: Any
    ) -> Any:
        if not isinstance(value, list):
            return (super()._deserialize(value, attr, data, **kwargs),)
        roles = [str(block.get("role")) for block in value if isinstance(block, Mapping)]
        if len(roles) > 1 and "None" in roles:
            raise ValidationError(
                f"has {len(roles)} blocks, one of them without a role (the others: "
                f"{', '.join(sorted({*roles} - {'None'})) or 'neither'}); give each a role."
            )
        if len(set(roles)) < len(roles):
            raise ValidationError("has two blocks with one role; keep one block for each role.")
        loaded, mistakes = [], {}
        for number, each in enumerate(value):
            try:
                loaded.append(super()._deserialize(each, attr, data, **kwargs))
            except ValidationError as error:
                mistakes[number] = error.messages
        if mistakes:
            raise ValidationError(mistakes)
        return tuple(loaded)


class Record(Schema):
    """A schema that refuses unknown keys and loads into ``record``, a frozen dataclass."""

    record: ClassVar[type[Any] | None] = None

    class Meta:
        unknown = RAISE

    @post_load
    def _freeze(self, data: Mapping[str, Any], **kwargs: Any) -> Any:
        return data if self.record is None else self.record(**data)
