"""Keeps the write-ahead log of SQLite bounded while others read.

SQLite folds its log in by itself after each commit beyond 1,000 pages, but begins it again only at
a moment in which nobody reads from it. Readers that follow each other closely leave no such moment.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from pathlib import Path

LIMIT = 64 * 2**20
"""Bytes of the log beyond which writers wait for readers."""

PAUSE = 2.0
"""Seconds between two waits: readers that take longer, such as backups, must not stop writers."""

WAIT = 0.2
"""Seconds for which writers wait then."""

BUSY = 10.0
"""Seconds that a connection waits for other users of a file at all other times."""


class Checkpoints:
    """The checkpoints of a database by one connection, whose thread calls it after commits."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._log = path.with_name(f"{path.name}-wal")
        self._next = 0.0
        (self._page,) = db.execute("PRAGMA page_size").fetchone()

    def after_commit(self) -> None:
        """Fold the log in, and have it begin again, if it has become too long. No other process
        writes meanwhile. The log is never cut: it stays as long as it once was."""
        # What fails here is tried again after a later commit; this one is durable.
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
        """Return how many pages are in the log."""
        _, pages, _ = self._db.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        return int(pages)
