"""The values of an export in SQLite's tables, read and written one by one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple

from plugind.model import (
    Declaration,
    Forgotten,
    Instance,
    InstanceKey,
    KeptSecret,
    Node,
    PluginKey,
    Run,
    Stamp,
    StoredTransition,
)
from plugind.store.exporting import KINDS, Item, LastBeat, Stamped
from plugind.store.sqlite import bulk, history
from plugind.store.sqlite.rows import (
    BEATS,
    DECLARATIONS,
    FORGOTTEN,
    INSTANCES,
    KEPT_SECRETS,
    NODES,
    RUNS,
    STAMPS,
    Table,
    declaration_row,
    forgotten_row,
    instance_row,
    instances,
    kept_secret_row,
    node_row,
)

_AT_ONCE = 1_000
"""Values that are written together, and so are in memory at the same time."""

Row = Sequence[Any]


class _Kept(NamedTuple):
    """The table of values of a kind, and the functions that make a value from a row (None for
    instances) and a row from a value."""

    table: Table
    value: Callable[[Row], Any] | None
    row: Callable[[Any], Row]


_KEPT: Mapping[type[Any], _Kept] = {
    Node: _Kept(NODES, lambda row: Node(*row), node_row),
    Instance: _Kept(INSTANCES, None, instance_row),
    Declaration: _Kept(
        DECLARATIONS, lambda row: Declaration(PluginKey(*row[:2]), row[2]), declaration_row
    ),
    Forgotten: _Kept(
        FORGOTTEN, lambda row: Forgotten(InstanceKey(*row[:4]), *row[4:]), forgotten_row
    ),
    KeptSecret: _Kept(KEPT_SECRETS, lambda row: KeptSecret(*row), kept_secret_row),
    Stamped: _Kept(
        STAMPS,
        lambda row: Stamped(row[0], Stamp(*row[1:])),
        lambda one: (
            one.resource,
            one.stamp.create_index,
            one.stamp.modify_index,
            one.stamp.create_time,
            one.stamp.modify_time,
        ),
    ),
    LastBeat: _Kept(
        BEATS, lambda row: LastBeat(row[0], (row[1], row[2])), lambda one: (one.node_id, *one.beat)
    ),
    Run: _Kept(RUNS, lambda row: Run(*row), tuple),
}


def read(db: sqlite3.Connection, kind: type[Any]) -> Iterator[Any]:
    """Yield the values of one kind, as an export has them. Raise Damaged for a row that cannot be
    read."""
    if kind is StoredTransition:
        yield from history.every(db)
        return
    kept = _KEPT[kind]
    found: Iterator[Any] = map(kept.value, kept.table.rows(db)) if kept.value else instances(db)
    # There are at most a few more runs than RUNS_KEPT. An export has them in order of their starts.
    yield from sorted(found, key=_start) if kind is Run else found


def read_all(db: sqlite3.Connection) -> Iterator[Item]:
    """Yield all values, as an export has them."""
    for kind in KINDS.values():
        yield from read(db, kind)


def write(db: sqlite3.Connection, items: Iterable[Any]) -> None:
    """Write values into a file that has none yet. If several have the same key, the last stays."""
    for kind, values in groupby(items, type):
        while some := list(islice(values, _AT_ONCE)):
            if kind is StoredTransition:
                history.put(db, [history.row(each) for each in some])
            else:
                kept = _KEPT[kind]
                bulk.put(db, kept.table, [kept.row(each) for each in some])


def counts(db: sqlite3.Connection) -> dict[str, int]:
    """Return how many values there are of each kind."""
    return {name: _count(db, kind) for name, kind in KINDS.items()}


def _count(db: sqlite3.Connection, kind: type[Any]) -> int:
    table = "transitions" if kind is StoredTransition else _KEPT[kind].table.name
    (number,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(number)


def _start(run: Run) -> tuple[int, str]:
    return run.start, run.id
