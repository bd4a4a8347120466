"""When server processes ran, in SQLite's tables."""

from __future__ import annotations

import sqlite3

from plugind.model import Run
from plugind.store.base import RUNS_KEPT

_MARK = """
    INSERT INTO runs (id, start, last) VALUES (?1, ?2, ?2)
    ON CONFLICT (id) DO UPDATE SET last = max(start, ?2)
"""
_PRUNE = """
    DELETE FROM runs WHERE id IN (
        SELECT id FROM runs WHERE id != ?1 ORDER BY last - start, start, id
        LIMIT max(0, (SELECT count(*) FROM runs) - ?2)
    )
"""


def mark(db: sqlite3.Connection, run: str, now: int) -> None:
    """Record that a process was running at ``now``; delete the shortest other runs if there are
    more than RUNS_KEPT."""
    db.execute(_MARK, (run, now))
    db.execute(_PRUNE, (run, RUNS_KEPT))


def select(db: sqlite3.Connection, since: int) -> list[Run]:
    """Return the runs that ended at a time or later, in the order of their starts."""
    query = "SELECT id, start, last FROM runs WHERE last >= ? ORDER BY start, id"
    return [Run(*row) for row in db.execute(query, (since,))]
