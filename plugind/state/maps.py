"""Immutable mappings: a change makes a new one, which shares as much as it can with the old."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from immutables import Map

SMALL = 64
"""A mapping of up to this many entries is a dict that is copied whole: it is faster and smaller."""

G = TypeVar("G")
K = TypeVar("K")
V = TypeVar("V")


def replaced(values: Mapping[K, V], news: Mapping[K, V | None]) -> Mapping[K, V]:
    """Return a mapping with new values; a value of None removes the key."""
    if not news:
        return values
    if not isinstance(values, Map):
        if len(values) + len(news) <= SMALL:
            copy = dict(values)
            for key, value in news.items():
                if value is not None:
                    copy[key] = value
                else:
                    copy.pop(key, None)
            return copy
        values = Map(values)
    changing = values.mutate()
    for key, value in news.items():
        if value is not None:
            changing[key] = value
        else:
            changing.pop(key, None)
    return changing.finish()


def replaced_in(
    groups: Mapping[G, Mapping[K, V]], news: Mapping[G, Mapping[K, V | None]]
) -> Mapping[G, Mapping[K, V]]:
    """Return groups of values with new values, as ``replaced``; a group that becomes empty goes."""
    return replaced(
        groups,
        {group: replaced(groups.get(group, {}), each) or None for group, each in news.items()},
    )
