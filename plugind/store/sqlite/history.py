"""The history of transitions in SQLite's tables.

``seq`` grows by one with each row, and the oldest rows are deleted first, so the number of rows
follows from the first and last ``seq`` and is never counted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from plugind.model import FLAPPING, Committed, HistoryQuery, StoredTransition, Transition
from plugind.store.base import AHEAD, Retention
from plugind.store.sqlite import bulk

PULLED_AT_ONCE = 100_000
"""Maximum number of the newest rows whose time is set back at once, which takes about 0.1 s."""

PRUNED_AT_ONCE = 200
"""Maximum number of rows deleted with one commit: a million at once would hold up the writer."""

TABLE = """
    CREATE TABLE transitions (
        seq INTEGER PRIMARY KEY, number INTEGER NOT NULL, kind TEXT NOT NULL, time INTEGER NOT NULL,
        since INTEGER NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, role TEXT NOT NULL,
        node_id TEXT NOT NULL, node TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL,
        reason TEXT NOT NULL, healthy INTEGER NOT NULL, count INTEGER NOT NULL,
        healthy_seconds INTEGER NOT NULL, version TEXT NOT NULL, until INTEGER NOT NULL
    );
    CREATE INDEX transitions_by_plugin ON transitions (type, id, seq);
    CREATE INDEX transitions_by_node ON transitions (node_id, seq);
    CREATE INDEX transitions_flapping ON transitions (node_id, type, id, role, since)
        WHERE kind = 'flapping';
"""
"""The table as the migrations of the store's file create it, for a file without other tables."""

_FIELDS = Transition.__struct_fields__
_COLUMNS = ("seq", "number", *_FIELDS)
_HEALTHY = _FIELDS.index("healthy")
_values = attrgetter(*_FIELDS)
_RENEWED = ("after", "reason", "healthy", "count", "healthy_seconds", "version", "until")
_renewed = attrgetter(*_RENEWED)
_PULL = """
    UPDATE transitions SET time = ?1, since = min(since, ?1), until = min(until, ?1)
    WHERE seq > ?2 AND time > ?1
"""
_ENDS = """
    SELECT first.seq, first.time, last.seq, last.time FROM
        (SELECT seq, time FROM transitions ORDER BY seq LIMIT 1) AS first,
        (SELECT seq, time FROM transitions ORDER BY seq DESC LIMIT 1) AS last
"""
_UPDATE = f"""
    UPDATE transitions SET {", ".join(f"{name} = ?" for name in _RENEWED)}
    WHERE kind = 'flapping' AND node_id = ? AND type = ? AND id = ? AND role = ? AND since = ?
"""


def append(db: sqlite3.Connection, numbered: Sequence[Committed], retention: Retention) -> None:
    """Write the transitions of changes; delete up to twice as many that are too old or too many.

    The clock may be set back, but no row is earlier than the one before it. An existing row of
    flapping keeps its place. Age is measured by the clock, unless the clock has just leapt ahead.
    """
    if not any(each.change.transitions for each in numbered):
        return
    now = numbered[-1].change.time
    stored = [
        StoredTransition(0, each.index, one) for each in numbered for one in each.change.transitions
    ]
    first, last = _ends(db)
    time, added = write(db, stored, now, last)
    oldest_kept = min(now, time) - retention.keep
    excess = last[0] + added - first[0] + 1 - retention.maximum
    if first[1] < oldest_kept or excess > 0:
        prune(db, oldest_kept, excess, 2 * added)


def _ends(db: sqlite3.Connection) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return ``seq`` and time of the oldest row and of the newest; (1, 0) and (0, 0) if there is no
    row.

    With ``min(seq)`` and ``max(seq)`` in one query, SQLite would scan the whole table.
    """
    found = db.execute(_ENDS).fetchone() or (1, 0, 0, 0)
    return found[:2], found[2:]


def newest(db: sqlite3.Connection) -> tuple[int, int]:
    """Return ``seq`` and time of the newest row, 0 for both if there is none."""
    found = db.execute("SELECT seq, time FROM transitions ORDER BY seq DESC LIMIT 1").fetchone()
    return (found[0], found[1]) if found else (0, 0)


def write(
    db: sqlite3.Connection,
    stored: Iterable[StoredTransition],
    now: int,
    last: tuple[int, int] | None = None,
) -> tuple[int, int]:
    """Write transitions that came at the time ``now``. With ``last``, the ``seq`` and time of the
    newest row before them, number them from there on. Return the time of that row, set back to
    ``now`` if it was too far ahead, and the number of rows added."""
    first, time = last or newest(db)
    if time - now > AHEAD:
        time = _pull(db, now)
    before, added = time, 0
    rows: list[tuple[Any, ...]] = []
    for each in stored:
        one = each.transition
        if one.kind == FLAPPING:
            put(db, rows)
            rows = []
            if _update(db, one):
                continue
        time, added = max(time, one.time), added + 1
        timed = one if one.time == time else one.changed(time=time)
        seq = each.seq if last is None else first + added
        rows.append((seq, each.index, *_values(timed)))
    put(db, rows)
    return before, added


def put(db: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Write rows that begin with their ``seq`` and index."""
    bulk.insert(db, "transitions", _COLUMNS, rows)


def row(stored: StoredTransition) -> tuple[Any, ...]:
    return stored.seq, stored.index, *_values(stored.transition)


def _update(db: sqlite3.Connection, one: Transition) -> bool:
    key = (one.node_id, one.type, one.id, one.role, one.since)
    return db.execute(_UPDATE, (*_renewed(one), *key)).rowcount > 0


def _pull(db: sqlite3.Connection, now: int) -> int:
    """Set the time of the newest rows that are later back to now, or to the time of the row before
    them if that is later. Return that time."""
    before = db.execute(
        "SELECT seq, time FROM transitions ORDER BY seq DESC LIMIT 1 OFFSET ?", (PULLED_AT_ONCE,)
    ).fetchone()
    last, earliest = before or (0, 0)
    time = max(now, earliest)
    db.execute(_PULL, (time, last))
    return time


def prune(db: sqlite3.Connection, oldest_kept: int, excess: int, most: int) -> int:
    """Delete the oldest rows: ``excess`` of them, or all but the last of those before the time
    ``oldest_kept`` if that is more, but at most ``most`` and PRUNED_AT_ONCE. Return how many were
    deleted."""
    most = min(most, PRUNED_AT_ONCE)
    oldest = db.execute(
        "SELECT seq, time FROM transitions ORDER BY seq LIMIT ?", (most + 1,)
    ).fetchall()
    # The last old row shows that nothing is missing after it; the newest row, where seq continues.
    old = sum(time < oldest_kept for _, time in oldest) - 1
    leaving: int = min(max(excess, old), most, len(oldest) - 1)
    if leaving > 0:
        db.execute("DELETE FROM transitions WHERE seq < ?", (oldest[leaving][0],))
        return leaving
    return 0


def select(db: sqlite3.Connection, query: HistoryQuery) -> list[StoredTransition]:
    """Return the transitions that a query selects, in the order that it asks for."""
    if query.after_index is None:
        return _select(db, query, query.after or 0)
    db.execute("BEGIN")  # so that the oldest rows cannot be deleted between the two reads
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
    """Return the ``seq`` of the last transition whose change has at most an index, 0 for none. Both
    grow together, so a binary search finds it without an index on the table."""
    (first, _), (last, _) = _ends(db)
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
    (first, _), (last, _) = _ends(db)
    return last - first + 1


def _stored(row: Sequence[Any]) -> StoredTransition:
    values = list(row[2:])
    values[_HEALTHY] = bool(values[_HEALTHY])
    return StoredTransition(row[0], row[1], Transition(*values))
