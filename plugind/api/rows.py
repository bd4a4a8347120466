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
from plugind.catalogue.columns import UNREAD, Column, Row
from plugind.catalogue.rendering import Listing
from plugind.filtering import Filter


@dataclass(frozen=True, slots=True)
class Beyond:
    """The fields that a filter may use but a list's rows lack, or have only in part: their names,
    and a function that returns the value of one, given the row's ID and the field's name."""

    names: frozenset[str]
    find: Callable[[str, str], Any]


class _Cursor:
    """The row of a list that a filter reads: the one at ``at``, which is moved from row to row.

    A row is decoded when a field is read whose value is not kept. Fields of ``beyond`` are found
    when they are needed.
    """

    def __init__(self, listing: Listing, beyond: Beyond | None) -> None:
        self.at = 0
        self._rows = listing.rows
        self._beyond = beyond
        self._kept = listing.columns.of(listing.rows)
        # The fields that were read, none of them of ``beyond``, even if other filters kept one.
        self._columns: dict[str, Column] = {}
        self._texts: dict[str, str] = {}
        # The row that was decoded last, and the row whose fields of ``beyond`` were found last.
        self._decoded: tuple[int, dict[str, Any]] = -1, {}
        self._found: tuple[int, dict[str, Any]] = -1, {}

    def get(self, name: str, /) -> Any:
        try:
            value = self._columns[name][self.at]
        except KeyError:
            if self._beyond is not None and name in self._beyond.names:
                return self._find(name, self._beyond)
            self._columns[name] = self._kept.setdefault(name, [UNREAD] * len(self._rows))
            return self.get(name)
        return self._read(name) if value is UNREAD else value

    def _read(self, name: str) -> Any:
        at, values = self._decoded
        if at != self.at:
            at, values = self._decoded = self.at, orjson.loads(self._rows[self.at][1])
        value = values.get(name)
        if isinstance(value, str):
            value = self._texts.setdefault(value, value)  # equal texts of rows are kept once
        elif isinstance(value, list | dict):
            return value  # not kept: it would take several times the memory of its JSON
        self._columns[name][at] = value
        return value

    def _find(self, name: str, beyond: Beyond) -> Any:
        at, values = self._found
        if at != self.at:
            at, values = self._found = self.at, {}
        if name not in values:
            values[name] = beyond.find(self._rows[self.at][0], name)
        return values[name]


def selects(query: Query) -> bool:
    """Return whether the query asks for anything other than the whole list as it is."""
    return bool(query.prefix or query.filter or query.per_page or query.reverse or query.next_token)


def shape(query: Query) -> str:
    """Return a key of the selection that a query makes, "" if it takes the whole list."""
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
    listing: Listing, query: Query, matches: Filter | None, beyond: Beyond | None = None
) -> Page:
    """Return the rows of a list that a query asks for.

    A page begins at the row whose ID is its token, or where that row would be if it is gone. No
    row beyond the end of the page is examined.
    """
    rows = listing.rows
    first, last = _bounds(rows, query)
    order = range(last - 1, first - 1, -1) if query.reverse else range(first, last)
    wanted = query.per_page + 1 if query.per_page else len(rows)
    if matches is None:
        kept = [rows[at] for at in order[:wanted]]
    else:
        kept, cursor = [], _Cursor(listing, beyond)
        for cursor.at in in_slices(order):
            if matches(cursor):
                kept.append(rows[cursor.at])
                if len(kept) == wanted:
                    break
    if not query.per_page or len(kept) < wanted:
        return Page(Listing(kept), "")
    return Page(Listing(kept[:-1]), kept[-1][0])


def _bounds(rows: Sequence[Row], query: Query) -> tuple[int, int]:
    """Return the bounds of the rows that have the prefix and are not on earlier pages."""
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
