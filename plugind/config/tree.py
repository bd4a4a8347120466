"""The tree that configuration text is parsed into, whatever its syntax.

The nodes are frozen, and each knows its place, so that a mistake can be reported with file, line
and column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plugind.errors import ConfigError, Mistake

ValuePath = tuple[str | int, ...]
"""Leads to a part of a value: the keys and list positions on the way, from the outside in."""


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a source.

    ``line`` and ``column`` count from 1; they are 0 if the source has no lines. Relative paths in
    the source count from ``folder``.
    """

    source: str
    line: int = 0
    column: int = 0
    folder: Path = Path()

    def at(self, line: int, column: int) -> Place:
        """Return another position in the same source."""
        return Place(self.source, line, column, self.folder)

    def __str__(self) -> str:
        """Return ``FILE:LINE:COLUMN``, or the name of the variable or flag, as one line."""
        source = _line(self.source)
        return f"{source}:{self.line}:{self.column}" if self.line else source

    def mistake(self, text: str) -> Mistake:
        return Mistake(_line(self.source), self.line, self.column, _line(text))


def _line(text: str) -> str:
    """Return the text on one line, with unprintable characters as escapes."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


@dataclass(frozen=True, slots=True)
class Attribute:
    """``name = value``, with a plain value: str, int, float, bool, None, and lists and dicts of
    these.

    ``parts`` has the place of each part of a list or dict.
    """

    name: str
    value: Any
    place: Place
    parts: Mapping[ValuePath, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Body:
    """The content of a file or a block, in the order in which it is written."""

    place: Place
    attributes: tuple[Attribute, ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """``type "label" ... { body }``.

    ``open`` marks a block that came from a JSON object: only the code that reads the tree knows
    whether the object stands for a block, a label or a plain object.
    """

    type: str
    labels: tuple[str, ...]
    body: Body
    place: Place
    open: bool = False


def refuse(place: Place, text: str) -> ConfigError:
    """Return the error for one mistake."""
    return ConfigError([place.mistake(text)])


def raise_any(mistakes: Iterable[Mistake]) -> None:
    """Raise ConfigError with all mistakes, sorted and without duplicates, if there are any."""
    if found := sorted(set(mistakes)):
        raise ConfigError(found)
