"""The history of transitions in SQLite's tables.

``seq`` grows by one with each row, and rows leave oldest first: their number is never counted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

from plugind.model import FLAPPING, Committed, HistoryQuery, StoredTransition, Transition
from plugind.store.base import AHEAD, Retention
from plugind.store.sqlite import bulk

PULLED_AT_ONCE = 100_000
"""The newest rows that may be pulled back at once: about as many as take 0.1 s."""

PRUNED_AT_ONCE = 200
"""Rows that leave with one commit at most: a million at once would hold up the writer."""

_FIELDS = tuple(field.name for field in fields(Transition))
_COLUMNS = ("seq", "number", *_FIELDS)
_values = attrgetter(*_FIELDS)
_RENEWED = ("after", "reason", "healthy", "count", "healthy_seconds", "version", "until")
_renewed = attrgetter(*_RENEWED)
_PULL = """
    UPDATE transitions SET time = ?1, since = min(since, ?1), until = min(until, ?1)
    WHERE seq > ?2 AND time > ?1
"""
_UPDATE = f"""
    UPDATE transitions SET {", ".join(f"{name} = ?" for name in _RENEWED)}
    WHERE kind = 'flapping' AND node_id = ? AND type = ? AND id = ? AND role = ? AND since = ?
"""


def append(db: sqlite3.Connection, numbered: Sequence[Committed], retention: Retention) -> None:
    """Write the transitions of changes; delete up to twice as many that are too old or too many.

    The clock may be set back: no row is earlier than the one before it. A row of flapping that is
    there already keeps its place. What is too old goes by the clock, unless that has just leapt.
    """
    if not any(each.change.transitions for each in numbered):
        return
    now = numbered[-1].change.time
    newest = db.execute("SELECT seq, time FROM transitions ORDER BY seq DESC LIMIT 1").fetchone()
    first, time = newest or (0, 0)
    if time - now > AHEAD:
        time = _pull(db, first, now)
    seq, oldest_kept = first, min(now, time) - retention.keep
    rows: list[tuple[Any, ...]] = []
    for each in numbered:
        for one in each.change.transitions:
            if one.kind == FLAPPING:
                put(db, rows)
                rows = []
                if _update(db, one):
                    continue
            seq, time = seq + 1, max(time, one.time)
            timed = one if one.time == time else replace(one, time=time)
            rows.append((seq, each.index, *_values(timed)))
    put(db, rows)
    _prune(db, seq, oldest_kept, retention.maximum, min(2 * (seq - first), PRUNED_AT_ONCE))


def put(db: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Write rows that begin with their ``seq`` and index."""
    bulk.insert(db, "transitions", _COLUMNS, rows)


def row(stored: StoredTransition) -> tuple[Any, ...]:
    return stored.seq, stored.index, *_values(stored.transition)


def _update(db: sqlite3.Connection, one: Transition) -> bool:
    key = (one.node_id, one.type, one.id, one.role, one.since)
    return db.execute(_UPDATE, (*_renewed(one), *key)).rowcount > 0


def _pull(db: sqlite3.Connection, newest: int, now: int) -> int:
    """Pull the newest rows back to now, or to the time of the row before them. Return that time."""
    last = newest - PULLED_AT_ONCE
    before = db.execute("SELECT time FROM transitions WHERE seq = ?", (last,)).fetchone()
    time = max(now, before[0] if before else 0)
    db.execute(_PULL, (time, last))
    return time


def _prune(db: sqlite3.Connection, newest: int, oldest_kept: int, maximum: int, most: int) -> None:
    (oldest,) = db.execute("SELECT min(seq) FROM transitions").fetchone()
    last = min(newest - maximum, oldest + most - 1)
    old = db.execute(
        "SELECT max(seq) FROM (SELECT seq, time FROM transitions WHERE seq < ?) WHERE time < ?",
        (oldest + most + 1, oldest_kept),
    ).fetchone()[0]
    # The last of the old says that nothing is missing since; the newest one where seq goes on.
    last = min(max(last, (old or 0) - 1), newest - 1)
    if last >= oldest:
        db.execute("DELETE FROM transitions WHERE seq <= ?", (last,))


def select(db: sqlite3.Connection, query: HistoryQuery) -> list[StoredTransition]:
    """Return the transitions that a query selects, in the order that it asks for."""
    if query.after_index is None:
        return _select(db, query, query.after or 0)
    db.execute("BEGIN")  # both reads are of one moment: the oldest may be deleted between them
    try:
        return _select(db, query, max(query.after or 0, _last_until(db, query.after_index)))
    finally:
        db.execute("ROLLBACK")


def _select(db: sqlite3.Connection, query: HistoryQuery, after: int) -> list[StoredTransition]:
    # With a type alone, the index on type and ID would not give the order.
    by_type = "type = ?" if query.id else "+type = ?"
    conditions = {by_type: query.type, "id = ?": query.id, "node_id = ?": query.node_id}
    wanted: dict[str, Any] = {each: value for each, value in conditions.items() if value}
    if query.before is not None:
        wanted["seq < ?"] = query.before
    if query.oldest_first:
        wanted["seq > ?"] = after
    where = " AND ".join(wanted) or "1"
    order = "ASC" if query.oldest_first else "DESC"
    columns = ", ".join(_COLUMNS)
    rows = db.execute(
        f"SELECT {columns} FROM transitions WHERE {where} ORDER BY seq {order} LIMIT ?",
        (*wanted.values(), query.limit),
    ).fetchall()
    return [_stored(each) for each in rows]


def _last_until(db: sqlite3.Connection, index: int) -> int:
    """Return the ``seq`` of the last transition of a change up to an index, 0 for none. Both grow
    together, so a search by halves finds it without an index of the table."""
    first, last = db.execute(
        "SELECT ifnull(min(seq), 1), ifnull(max(seq), 0) FROM transitions"
    ).fetchone()
    while first <= last:
        middle = (first + last) // 2
        (number,) = db.execute(
            "SELECT number FROM transitions WHERE seq <= ? ORDER BY seq DESC LIMIT 1", (middle,)
        ).fetchone()
        if number <= index:
            first = middle + 1
        else:
            last = middle - 1
    return int(first - 1)


def every(db: sqlite3.Connection) -> Iterator[StoredTransition]:
    """Yield the whole history, oldest first."""
    rows = db.execute(f"SELECT {', '.join(_COLUMNS)} FROM transitions ORDER BY seq")
    return map(_stored, rows)


def size(db: sqlite3.Connection) -> int:
    """Return how many transitions there are."""
    (number,) = db.execute("SELECT ifnull(max(seq) - min(seq) + 1, 0) FROM transitions").fetchone()
    return int(number)


def _stored(row: Sequence[Any]) -> StoredTransition:
    one = Transition(*row[2:])
    return StoredTransition(row[0], row[1], replace(one, healthy=bool(one.healthy)))
