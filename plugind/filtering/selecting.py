"""Selectors: the steps from a row to a value in it, checked against the row's fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from plugind.errors import BadRequest
from plugind.filtering.kinds import ANY, Fields, Kind, List, Map
from plugind.filtering.literals import shown


class Row(Protocol):
    """A row that filters read: a mapping, or an object that computes a field on request."""

    def get(self, name: str, /) -> Any:
        """Return a field's value; None if the row has none."""


Filter = Callable[[Row], bool]


class Within:
    """A row inside an any or all, with names for the current item."""

    __slots__ = ("_row", "named")

    def __init__(self, row: Row) -> None:
        self._row = row
        self.named: dict[str, Any] = {}

    def get(self, name: str, /) -> Any:
        return self.named[name] if name in self.named else self._row.get(name)


Refuse = Callable[[str], BadRequest]
"""Returns the error with a given text and its place in the expression."""


@dataclass(frozen=True, slots=True)
class Selected:
    """A value in a row. ``get`` returns None if the value is null or absent."""

    name: str
    kind: Kind
    get: Callable[[Row], Any]


def pointer(text: str) -> list[str]:
    """Return the steps of a JSON pointer (https://www.rfc-editor.org/rfc/rfc6901)."""
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def select(steps: Sequence[str], fields: Fields, refuse: Refuse) -> Selected:
    """Return the value that the steps lead to. Raise BadRequest for an unknown field."""
    kind: Kind = fields
    for number, step in enumerate(steps):
        kind = _inside(kind, step, shown(".".join(steps[:number])), refuse)
    return Selected(shown(".".join(steps)), kind, _getter(steps))


def _inside(kind: Kind, step: str, outer: str, refuse: Refuse) -> Kind:
    match kind:
        case Fields():
            if step not in kind.by_name:
                where = f" in {outer}" if outer else ""
                names = ", ".join(sorted(kind.by_name))
                raise refuse(f"no field {shown(step)}{where}; use one of: {names}")
            return kind.by_name[step]
        case Map():
            return kind.of
        case List() if _is_index(step):
            return kind.of
        case List():
            raise refuse(f"{outer} is a list; its first item is {outer}.0, and any asks for each")
    if kind == ANY:
        return ANY
    raise refuse(f"{outer} is {kind.name}, which has no {shown(step)}")


def _getter(steps: Sequence[str]) -> Callable[[Row], Any]:
    first, *others = steps

    def field(row: Row) -> Any:
        return row.get(first)

    def inner(row: Row) -> Any:
        value = row.get(first)
        for step in others:
            if isinstance(value, Mapping):
                value = value.get(step)
            elif isinstance(value, list) and _is_index(step) and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value

    return inner if others else field


def _is_index(step: str) -> bool:
    return step.isascii() and step.isdecimal()
