"""Which rows of a list are answered: by prefix and filter, page by page, in either order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson

from plugind.api.query import Query
from plugind.catalogue.rendering import Row

Filter = Callable[[Any], bool]


def selects(query: Query) -> bool:
    """Whether the query wants anything else than the whole list as it is."""
    return bool(query.prefix or query.filter or query.per_page or query.reverse or query.next_token)


def shape(query: Query) -> list[str]:
    """Identifies what a query takes of a whole list; nothing where it takes all as it is."""
    if not selects(query):
        return []
    parts = (query.prefix, query.filter, query.per_page, query.reverse, query.next_token)
    return [hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()]


def select(rows: Sequence[Row], query: Query, matches: Filter | None) -> tuple[list[Row], str]:
    """The rows asked for, of all in the order of their IDs; and the ID that the next page begins
    with, "" on the last one.

    A page begins with its token's ID, or where that row would be if it is gone.
    """
    found: Iterable[Row] = (row for row in rows if row[0].startswith(query.prefix))
    if query.next_token:
        found = (row for row in found if _is_reached(row[0], query))
    if matches is not None:
        found = (row for row in found if matches(orjson.loads(row[1])))
    kept = list(found)
    if query.reverse:
        kept.reverse()
    if not query.per_page or len(kept) <= query.per_page:
        return kept, ""
    return kept[: query.per_page], kept[query.per_page][0]


def _is_reached(id_: str, query: Query) -> bool:
    return id_ <= query.next_token if query.reverse else id_ >= query.next_token
