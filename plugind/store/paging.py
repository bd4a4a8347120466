"""Reads a store's history further back than one query reaches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from plugind.model import HistoryQuery, StoredTransition
from plugind.model.changes import HISTORY_LIMIT

Select = Callable[[HistoryQuery], Sequence[StoredTransition]]
"""Returns the transitions that a query selects, newest first: ``Store.history``."""


def newest_first(
    select: Select, query: HistoryQuery, first: int = HISTORY_LIMIT
) -> Iterator[StoredTransition]:
    """Yield all transitions that a query selects, newest first. They are read from the store in
    batches; ``first`` is the size of the first one, which may be small."""
    query = replace(query, limit=first)
    while found := select(query):
        yield from found
        if len(found) < query.limit:
            return
        query = replace(query, before=found[-1].seq, limit=HISTORY_LIMIT)
