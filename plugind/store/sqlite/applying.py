"""Writes the values that result from changes into SQLite's tables.

Changes that are committed together are written together: if they replace a value several times,
only the last one is written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from plugind.model import Change, Committed, Stamp, Step
from plugind.store.sqlite import bulk
from plugind.store.sqlite.rows import (
    DECLARATIONS,
    FORGOTTEN,
    INSTANCES,
    KEPT_SECRETS,
    NODES,
    SESSIONS,
    STAMPS,
    Table,
    declaration_row,
    forgotten_row,
    instance_row,
    kept_secret_row,
    node_row,
    session_row,
)

_Steps = Callable[[Change], Iterable[Step[Any]]]
_Key = Callable[[Any], tuple[Any, ...]]
_Row = Callable[[Any], tuple[Any, ...]]

_KEPT: tuple[tuple[Table, _Steps, _Key, _Row], ...] = (
    (NODES, lambda change: change.nodes, lambda value: (value.id,), node_row),
    (INSTANCES, lambda change: change.instances, lambda value: value.key, instance_row),
    (DECLARATIONS, lambda change: change.declarations, lambda value: value.key, declaration_row),
    (FORGOTTEN, lambda change: change.forgotten, lambda value: value.key, forgotten_row),
    (
        KEPT_SECRETS,
        lambda change: change.kept_secrets,
        lambda value: (value.node_id,),
        kept_secret_row,
    ),
    (SESSIONS, lambda change: change.sessions, lambda value: (value.key,), session_row),
)
"""The tables of values: the steps of a change, and the key and the row of a value."""


def apply(db: sqlite3.Connection, numbered: Sequence[Committed]) -> None:
    """Write the values that result from changes, in their order."""
    for table, steps_of, key_of, row_of in _KEPT:
        last: dict[tuple[Any, ...], Any] = {}
        for each in numbered:
            for step in steps_of(each.change):
                last[key_of(step.some)] = step.after
        if last:
            bulk.delete(db, table, [key for key, value in last.items() if value is None])
            bulk.put(db, table, [row_of(each) for each in last.values() if each is not None])
    _stamp(db, numbered)


def _stamp(db: sqlite3.Connection, numbered: Sequence[Committed]) -> None:
    """Record when resources changed. One that was removed and then came back is a new one."""
    removed: set[str] = set()
    stamps: dict[str, Stamp] = {}
    for index, change in ((each.index, each.change) for each in numbered):
        for resource in change.touched - change.removed:
            # If the table has the resource already, the time of its creation stays.
            old = stamps.get(resource) or Stamp(index, index, change.time, change.time)
            stamps[resource] = Stamp(old.create_index, index, old.create_time, change.time)
        for resource in change.removed:
            removed.add(resource)
            stamps.pop(resource, None)
    bulk.delete(db, STAMPS, [(resource,) for resource in removed])
    bulk.stamp(db, stamps)
