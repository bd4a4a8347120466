"""Types of values that several blocks of the configuration share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from marshmallow import ValidationError, fields

from plugind.logs import LEVELS
from plugind.wire import addresses
from plugind.wire.fields import Text


def not_blank(text: str) -> None:
    """Raise ValidationError for a text without visible characters."""
    if not text.strip():
        raise ValidationError("must not be empty.")


def own_address(text: str) -> None:
    """Raise ValidationError for an address that others cannot connect to; "" is allowed."""
    if not text:
        return
    try:
        host, _ = addresses.split(text)
    except ValueError as error:
        raise ValidationError("must be a host or HOST:PORT, such as 10.0.0.5:4646.") from error
    if addresses.is_unspecified(host):
        raise ValidationError(
            f"must be an address that others can connect to, such as 10.0.0.5: {host} is the "
            "address of no machine."
        )


class Level(Text):
    """A level of ``plugind.logs``, in upper or lower case."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs).upper()
        if text not in LEVELS:
            raise ValidationError(f"must be one of {', '.join(LEVELS)}.")
        return text


class FilePath(fields.Field[Path]):
    """A path; a relative path counts from the file that it is written in."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs["metadata"] = {"path": True, **kwargs.get("metadata", {})}
        super().__init__(**kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Path:
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValidationError("must be a path in quotes.")
        return Path(value)
