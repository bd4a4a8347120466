"""The rows of the page that lists the plugins of a type: selected, sorted, cut into pages."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from plugind import filtering
from plugind.api.yielding import in_slices
from plugind.availability.strips import Strip
from plugind.errors import BadRequest
from plugind.model import Node, PluginKey
from plugind.plugin_type import PluginType
from plugind.ui.availability import day_of
from plugind.ui.facts import STATES, Count
from plugind.ui.parts import Look

PAGE = 200
"""Rows on a page."""

_NONE: Counter[str] = Counter()
_WORST_FIRST = tuple(STATES.values())
_CORE = frozenset({"ID", "CreateIndex", "ModifyIndex", "CreateTime", "ModifyTime", "Allocations"})


@dataclass(frozen=True, slots=True)
class PluginRow:
    """A plugin in a list. ``about`` joins the texts of its type's own fields; ``since`` is when the
    first of its unhealthy instances became unhealthy, 0 if none is or the caller may not know.
    ``strip`` is its last 24 hours, None if they were not read or the caller may not know."""

    key: PluginKey
    state: str
    counts: Sequence[Count]
    about: str
    versions: Sequence[tuple[str, int]]
    since: int
    strip: Strip | None = None

    @property
    def healthy(self) -> int:
        return sum(each.healthy for each in self.counts)

    @property
    def expected(self) -> int:
        return sum(each.expected for each in self.counts)

    @property
    def available(self) -> float | None:
        """Return its availability in the last 24 hours, None if unknown."""
        return day_of(self.strip).availability if self.strip else None


def about(type_: PluginType, row: Mapping[str, Any]) -> str:
    """Return the texts among the fields that a plugin type adds, such as a provider."""
    words = (value for key, value in sorted(row.items()) if key not in _CORE)
    return " ".join(value for value in words if isinstance(value, str))


def plugin_rows(look: Look, name: str) -> list[PluginRow]:
    """Return the plugins of a type that the URL selects, in the order of their IDs.

    Raise BadRequest for a filter that cannot be understood.
    """
    text, facts = look.asked("filter"), look.facts
    matches = filtering.compile(text, look.parts.row_fields[name]) if text else None
    found, type_ = [], look.parts.types[name]
    there = _placed_as_asked(look, name)
    word = look.asked("q").casefold()
    shows = name in look.sight.shows
    for id_, body in look.parts.catalogue.plugins(name).rows:
        row, key = orjson.loads(body), PluginKey(name, id_)
        if not facts.state.has_plugin(key):
            continue  # the plugin was added after the look began
        texts = about(type_, row)
        if word and word not in f"{id_} {texts}".casefold():
            continue
        if (matches is not None and not matches(row)) or (there is not None and not there(key)):
            continue
        unhealthy = facts.unhealthy.get(key, ()) if shows else ()
        versions = facts.versions.get(key, _NONE) if shows else _NONE
        found.append(
            PluginRow(
                key=key,
                state=facts.state_of(key),
                counts=facts.counts(key, type_),
                about=texts,
                versions=versions.most_common(),
                since=min((each.shown.updated for each in unhealthy), default=0),
            )
        )
    return found


def _placed_as_asked(look: Look, name: str) -> Callable[[PluginKey], bool] | None:
    """Return a function that decides whether any instance of a plugin has the datacenter, the node
    class and the version that the URL asks for; None if the URL asks for none of them.

    A parameter whose values the caller may not see counts as not given.
    """
    facts, sight = look.facts, look.sight
    datacenter = look.asked("datacenter") if sight.nodes else ""
    class_ = look.asked("class") if sight.nodes else ""
    version = look.asked("version") if name in sight.shows else ""
    if not (datacenter or class_ or version):
        return None

    def is_there(node: Node) -> bool:
        return datacenter in ("", node.datacenter) and class_ in ("", node.node_class)

    def decide(key: PluginKey) -> bool:
        if version and version not in facts.versions.get(key, ()):
            return False
        return any(
            is_there(each.node) and version in ("", each.version) for each in facts.of_plugin(key)
        )

    return decide


def with_strips(look: Look, rows: Sequence[PluginRow]) -> list[PluginRow]:
    """Return rows with the last 24 hours of plugins that the caller may see. Raise StoreError."""
    keys = [row.key for row in rows if row.key.type in look.sight.shows]
    strips = look.parts.strips.of(look.facts.state, keys, time.time_ns(), in_slices)
    return [replace(row, strip=strips.get(row.key)) for row in rows]


BY_STRIP = "availability"
"""The sort that needs the strips of all rows."""

SORTS: Mapping[str, Callable[[PluginRow], Any]] = {
    "id": lambda row: row.key.id,
    "state": lambda row: (_WORST_FIRST.index(row.state), row.key.id),
    "healthy": lambda row: (row.healthy - row.expected, row.key.id),
    "expected": lambda row: (-row.expected, row.key.id),
    "about": lambda row: (row.about, row.key.id),
    "versions": lambda row: (-len(row.versions), row.versions[:1], row.key.id),
    "since": lambda row: (-row.since, row.key.id),
    BY_STRIP: lambda row: (2 if row.available is None else row.available, row.key.id),
}
"""The keys by which rows are sorted, by the column's name in the URL; "-" before it reverses."""


def in_order(rows: list[PluginRow], sort: str) -> list[PluginRow]:
    """Return rows in the order of a column. Raise BadRequest if the column is unknown."""
    name = sort.removeprefix("-") or "id"
    if name not in SORTS:
        raise BadRequest(
            f"Invalid sort: it is one of {', '.join(SORTS)}, with - before it for the reverse order"
        )
    return sorted(rows, key=SORTS[name], reverse=sort.startswith("-"))


@dataclass(frozen=True, slots=True)
class Part:
    """One page of a list: its ``number`` from 1, ``of`` how many pages, the index of its ``first``
    row, and the ``total`` number of rows."""

    number: int
    of: int
    first: int
    total: int


def part(total: int, asked: str, size: int = PAGE) -> Part:
    """Return the page that the URL asks for, or the last page if the number is too large.

    Raise BadRequest if ``asked`` is not a number.
    """
    if asked and not (asked.isascii() and asked.isdigit() and len(asked) < 10):
        raise BadRequest("Invalid page: it must be 1 or more")
    pages = max(1, -(-total // size))
    number = min(max(int(asked or 1), 1), pages)
    return Part(number, pages, (number - 1) * size, total)


def states(rows: Iterable[PluginRow]) -> dict[str, int]:
    """Return how many plugins are in each state, the worst first."""
    counted = Counter(row.state for row in rows)
    return {each: counted[each] for each in _WORST_FIRST}
