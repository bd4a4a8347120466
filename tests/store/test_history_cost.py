"""The cost of a commit's writes to the history is the same, however long the history is."""

from __future__ import annotations

import sqlite3

from plugind.model import HEALTHY, Change, Committed, StoredTransition, Transition
from plugind.store.base import Retention
from plugind.store.sqlite import history

ROW = Transition(HEALTHY, 7, 7, "csi", "a", "node", "n", "vm", "unhealthy", "healthy", "ok", True)
STEP = 10  # instructions of SQLite


def instructions(rows: int) -> int:
    """Return the number of SQLite instructions of a commit after that many rows of history."""
    db = sqlite3.connect(":memory:")
    db.executescript(history.TABLE)
    history.write(db, [StoredTransition(0, 1, ROW)] * rows, 7, (0, 0))
    assert history.size(db) == rows
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    db.set_progress_handler(step, STEP)
    change = Change(7, transitions=(ROW,))
    history.append(db, [Committed(2, change)], Retention(keep=10**18, maximum=10**9))
    db.set_progress_handler(None, STEP)
    assert history.size(db) == rows + 1
    db.close()
    return steps * STEP


def test_a_commit_does_not_look_through_the_history() -> None:
    assert instructions(10_000) < instructions(10) + 500
