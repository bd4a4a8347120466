"""Keeps SQLite's write-ahead log from growing without bound while others read.

After each commit that leaves more than 1,000 pages in the log, SQLite checkpoints it by itself, but
it restarts the log only at a moment when nobody reads from it. Readers that follow each other
closely leave no such moment.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from pathlib import Path

LIMIT = 64 * 2**20
"""Bytes of the log beyond which writers wait for readers."""

PAUSE = 2.0
"""Seconds between such waits: readers that take long, such as backups, must not stop writers."""

WAIT = 0.2
"""Seconds that writers wait for readers each time."""

BUSY = 10.0
"""Seconds that a connection waits for other users of a file at any other time."""


class Checkpoints:
    """Checkpoints a database through one connection, whose thread calls this after commits."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._log = path.with_name(f"{path.name}-wal")
        self._next = 0.0
        (self._page,) = db.execute("PRAGMA page_size").fetchone()

    def after_commit(self) -> None:
        """Checkpoint the log and restart it if it has become too long. No other process may write
        meanwhile. The log's file is never cut: it keeps its greatest size."""
        # If this fails, it is tried again after a later commit; this commit is durable.
        with suppress(OSError, sqlite3.Error):
            if self._log.stat().st_size <= LIMIT or (now := time.monotonic()) < self._next:
                return
            self._next = now + PAUSE
            if self._fold("PASSIVE") * self._page > LIMIT:
                self._db.execute(f"PRAGMA busy_timeout = {WAIT * 1000:.0f}")
                try:
                    self._fold("RESTART")
                finally:
                    self._db.execute(f"PRAGMA busy_timeout = {BUSY * 1000:.0f}")

    def _fold(self, mode: str) -> int:
        """Checkpoint the log. Return how many pages are in it."""
        _, pages, _ = self._db.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        return int(pages)
