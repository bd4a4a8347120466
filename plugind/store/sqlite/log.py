"""The log of changes in SQLite's tables, and the index at which each scope was last written.

The log has no gaps: it has every index from its first row to the store's last index. Its oldest
rows are deleted first, by age and by size.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import orjson

from plugind.errors import Compacted
from plugind.model import Change, Committed
from plugind.model.times import SECOND
from plugind.store.coding import decode, encode
from plugind.store.sqlite import bulk
from plugind.store.sqlite.file import Damaged

PRUNED_AT_ONCE = 200
"""Maximum number of rows that one commit deletes because of their age."""

_LOG = ("number", "time", "size", "change")


@dataclass(frozen=True)
class LogLimits:
    """How far back the log reaches: ``log_keep`` in seconds, ``log_max_size`` in bytes."""

    log_keep: float = 600.0
    log_max_size: int = 64 * 2**20


def append(
    db: sqlite3.Connection,
    numbered: Sequence[Committed],
    size: int,
    limits: LogLimits,
    *,
    shared: bool,
) -> int:
    """Write changes to the log, and delete what it need not keep. Return its size in bytes, which
    was ``size`` before.

    The scopes that the changes write are recorded only if the store is ``shared``. When a single
    process owns the store, only a writer that missed the outcome of its own commit can have planned
    on an older state, and a process that opens the store later loads it first.
    """
    rows = []
    for each in numbered:
        text = encode(each.change)
        rows.append((each.index, each.change.time, len(text), text))
    size = size - _prune(db, rows, size, limits) + sum(row[2] for row in rows)
    bulk.insert(db, "log", _LOG, rows)
    if shared:
        written = {scope: each.index for each in numbered for scope in each.change.writes}
        bulk.insert(db, "scopes", ("scope", "number"), list(written.items()))
    return size


def _prune(
    db: sqlite3.Connection, new: Sequence[tuple[int, int, int, bytes]], size: int, limits: LogLimits
) -> int:
    """Delete the oldest rows to make room for new ones. Return how many bytes they had."""
    oldest_kept = max(row[1] for row in new) - round(limits.log_keep * SECOND)
    room = limits.log_max_size - sum(row[2] for row in new)
    by_age = min(2 * len(new), PRUNED_AT_ONCE)
    last = freed = 0
    found = db.execute("SELECT number, time, size FROM log ORDER BY number LIMIT 1000")
    for count, (number, time, length) in enumerate(found):
        is_old = time < oldest_kept and count < by_age
        if not is_old and size - freed <= room:
            break
        last, freed = number, freed + length
    found.close()
    if last:
        db.execute("DELETE FROM log WHERE number <= ?", (last,))
    return freed


def read(
    db: sqlite3.Connection, after: int, limit: int, own: Mapping[int, Committed]
) -> list[Committed]:
    """Return at most ``limit`` changes after an index, taken from ``own`` if it has them. Raise
    Compacted as ``Store.read`` does, and Damaged for a row that cannot be read."""
    (last,) = db.execute("SELECT last_index FROM store").fetchone()
    rows = db.execute(
        "SELECT number, change FROM log WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
    ).fetchall()
    if after > last or (rows[0][0] if rows else last) > after + bool(rows):
        raise Compacted(
            f"the changes after index {after} are not in the store's log: load the store again"
        )
    return [own.get(number) or Committed(number, _decoded(number, text)) for number, text in rows]


def _decoded(number: int, text: bytes) -> Change:
    try:
        return decode(text)
    except (ValueError, TypeError) as error:
        raise Damaged(f"log {number}: {error}") from error


def moved(
    db: sqlite3.Connection, last: int, base: int, scopes: Collection[str], *, shared: bool
) -> Collection[str]:
    """Return those of the scopes that were written after the index ``base``. Return all of them if
    that is not known, because it is too long ago or the store is not ``shared``. ``last`` is the
    store's index."""
    if base == last or not scopes:
        return ()
    if not shared:
        return scopes
    (start,) = db.execute("SELECT min(number) - 1 FROM log").fetchone()
    if not (last if start is None else start) <= base < last:
        return scopes
    newer = db.execute(
        "SELECT scope FROM scopes WHERE number > ? AND scope IN (SELECT value FROM json_each(?))",
        (base, orjson.dumps(list(scopes)).decode()),
    )
    return [scope for (scope,) in newer]


def drop_old_scopes(db: sqlite3.Connection) -> None:
    """Delete the scopes that ``moved`` no longer looks at."""
    db.execute("DELETE FROM scopes WHERE number < (SELECT ifnull(min(number), 1 << 62) FROM log)")
