"""The base class of values that are made for each report, in a few tenths of a microsecond."""

from __future__ import annotations

from typing import Any, Self

import msgspec


class Value(msgspec.Struct, frozen=True):
    """An immutable value. A frozen dataclass takes ten times as long to make, and forty times as
    long to copy with other values."""

    def changed(self, **values: Any) -> Self:
        """Return a copy with some of the fields replaced."""
        return msgspec.structs.replace(self, **values)
