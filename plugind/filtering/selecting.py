"""Selectors: the steps from a row to a value in it, checked against what the row's fields are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plugind.errors import BadRequest
from plugind.filtering.kinds import ANY, Fields, Kind, List, Map
from plugind.filtering.literals import shown

Row = Mapping[str, Any]
Refuse = Callable[[str], BadRequest]
"""Makes the error for a text, with the place in the expression that it is about."""


@dataclass(frozen=True, slots=True)
class Selected:
    """A value in a row. ``get`` gives None where there is none, be it null or not there at all."""

    name: str
    kind: Kind
    get: Callable[[Row], Any]


def pointer(text: str) -> list[str]:
    """The steps of a JSON pointer (https://www.rfc-editor.org/rfc/rfc6901)."""
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def select(steps: Sequence[str], fields: Fields, refuse: Refuse) -> Selected:
    """What the steps lead to. Raises BadRequest for a field that does not exist."""
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
                raise refuse(f"no field {shown(step)}{where}; there are: {names}")
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
            value = _item(value, step)
        return value

    return inner if others else field


def _item(value: Any, step: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(step)
    if isinstance(value, list) and _is_index(step):
        return value[int(step)] if int(step) < len(value) else None
    return None


def _is_index(step: str) -> bool:
    return step.isascii() and step.isdecimal()
