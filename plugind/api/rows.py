"""Selects the rows of a list: by prefix and filter, page by page, in either order."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from plugind.api.query import Query
from plugind.api.yielding import in_slices
from plugind.catalogue.rendering import Listing, Row
from plugind.filtering import Filter


@dataclass(frozen=True, slots=True)
class Beyond:
    """The fields that a filter may use and that a list's rows lack, or have in part only: their
    names, and a function that returns the value of one, given the row's ID and the name."""

    names: frozenset[str]
    find: Callable[[str, str], Any]


class _Filtered:
    """A row as a filter reads it: parsed for the first of its fields, and with those beyond it,
    which are found when they are needed."""

    __slots__ = ("_beyond", "_found", "_row", "_values")

    def __init__(self, row: Row, beyond: Beyond | None) -> None:
        self._row = row
        self._beyond = beyond
        self._values: dict[str, Any] | None = None
        self._found: dict[str, Any] = {}

    def get(self, name: str, /) -> Any:
        if self._beyond is not None and name in self._beyond.names:
            if name not in self._found:
                self._found[name] = self._beyond.find(self._row[0], name)
            return self._found[name]
        if self._values is None:
            self._values = orjson.loads(self._row[1])
        return self._values.get(name)


def selects(query: Query) -> bool:
    """Return whether the query asks for anything else than the whole list as it is."""
    return bool(query.prefix or query.filter or query.per_page or query.reverse or query.next_token)


def shape(query: Query) -> str:
    """Return a key of the selection that a query makes; "" where it takes the whole list."""
    if not selects(query):
        return ""
    parts = (query.prefix, query.filter, query.per_page, query.reverse, query.next_token)
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Page:
    """The rows asked for, and the ID that the next page begins with, "" on the last one."""

    listing: Listing
    next_token: str

    def __len__(self) -> int:
        return len(self.listing)


def select(
    rows: Sequence[Row], query: Query, matches: Filter | None, beyond: Beyond | None = None
) -> Page:
    """Return the rows asked for, of all in the order of their IDs.

    A page begins with its token's ID, or where that row would be if it is gone. No row is looked at
    beyond the end of the page.
    """
    first, last = _bounds(rows, query)
    order = range(last - 1, first - 1, -1) if query.reverse else range(first, last)
    wanted = query.per_page + 1 if query.per_page else len(rows)
    if matches is None:
        kept = [rows[at] for at in order[:wanted]]
    else:
        kept = []
        for at in in_slices(order):
            if matches(_Filtered(rows[at], beyond)):
                kept.append(rows[at])
                if len(kept) == wanted:
                    break
    if not query.per_page or len(kept) < wanted:
        return Page(Listing(kept), "")
    return Page(Listing(kept[:-1]), kept[-1][0])


def _bounds(rows: Sequence[Row], query: Query) -> tuple[int, int]:
    """Return where the rows begin and end that have the prefix and that the page has reached."""
    first, last = 0, len(rows)
    if query.prefix:
        first = bisect_left(rows, query.prefix, key=_id)
        last = bisect_left(rows, True, first, key=lambda row: not row[0].startswith(query.prefix))
    if query.next_token and query.reverse:
        last = min(last, bisect_right(rows, query.next_token, key=_id))
    elif query.next_token:
        first = max(first, bisect_left(rows, query.next_token, key=_id))
    return first, max(first, last)


def _id(row: Row) -> str:
    return row[0]
