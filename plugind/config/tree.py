"""The nodes that configuration text is parsed into, whatever it was written in.

Frozen, and each knows where it stands, so that whatever is wrong with it can be told with file,
line and column.
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
    """A position in a source. ``line`` and ``column`` count from 1; 0 where there are no lines.

    ``folder`` is what relative paths that stand there count from.
    """

    source: str
    line: int = 0
    column: int = 0
    folder: Path = Path()

    def at(self, line: int, column: int) -> Place:
        """Another position in the same source."""
        return Place(self.source, line, column, self.folder)

    def mistake(self, text: str) -> Mistake:
        return Mistake(_line(self.source), self.line, self.column, _line(text))


def _line(text: str) -> str:
    """The text in one line: what a name may hold and nobody can print stands there escaped."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


@dataclass(frozen=True, slots=True)
class Attribute:
    """``name = value``. The value is plain: str, int, float, bool, None, and lists and dicts of
    these. ``parts`` says where the parts of a list or dict stand."""

    name: str
    value: Any
    place: Place
    parts: Mapping[ValuePath, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Body:
    """What stands in a file, or between the braces of a block, in the order it is written."""

    place: Place
    attributes: tuple[Attribute, ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """``type "label" ... { body }``.

    ``open`` marks a block that came from a JSON object: whether that was meant as a block, as a
    label or as a plain object only the reader of the tree can know.
    """

    type: str
    labels: tuple[str, ...]
    body: Body
    place: Place
    open: bool = False


def refuse(place: Place, text: str) -> ConfigError:
    """The error for one mistake."""
    return ConfigError([place.mistake(text)])


def raise_any(mistakes: Iterable[Mistake]) -> None:
    """Raises ConfigError with all the mistakes in order, each once, if there are any."""
    if found := sorted(set(mistakes)):
        raise ConfigError(found)
