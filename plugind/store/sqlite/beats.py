"""When nodes were last heard, in a file of its own that is never synced.

A heartbeat must cost no fsync, and a commit must lose no durability for it, so the two share no
file. What a crash of the machine leaves of this one may be damaged: then it begins again, and nodes
count as heard when their server started.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Mapping
from contextlib import closing, suppress
from pathlib import Path

from plugind import logs
from plugind.model import Beat
from plugind.store.sqlite import bulk
from plugind.store.sqlite.file import TEMP_IN_MEMORY, transaction, translated
from plugind.store.sqlite.rows import BEATS

FILE_NAME = "beats.db"

_PARTS = ("", "-wal", "-shm", "-journal")
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS store (identity TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS beats (
        node_id TEXT PRIMARY KEY, heard INTEGER NOT NULL, ttl INTEGER NOT NULL
    ) WITHOUT ROWID
"""
_log = logs.get("store")


class Beats:
    """The beats of a store's nodes. Safe for threads."""

    def __init__(self, data_dir: Path, identity: str) -> None:
        self._path = data_dir / FILE_NAME
        self._turn = threading.Lock()
        try:
            self._db = self._opened(identity)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            _log.warning("when nodes were last heard is lost: the file is damaged", path=self._path)
            for part in _PARTS:
                self._path.with_name(FILE_NAME + part).unlink(missing_ok=True)
            self._db = self._opened(identity)

    def _opened(self, identity: str) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=10.0
        )
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = OFF")
            db.execute(TEMP_IN_MEMORY)
            with transaction(db):
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                if db.execute("SELECT identity FROM store").fetchall() != [(identity,)]:
                    db.execute("DELETE FROM store")
                    db.execute("DELETE FROM beats")  # they are of a store that was replaced
                    db.execute("INSERT INTO store VALUES (?)", (identity,))
            _read(db)
        except BaseException:
            db.close()
            raise
        return db

    def put(self, beats: Mapping[str, Beat]) -> None:
        rows = [(node_id, *beat) for node_id, beat in beats.items()]
        with translated(self._path), self._turn, transaction(self._db):
            bulk.put(self._db, BEATS, rows)

    def drop(self, node_ids: Collection[str]) -> None:
        with translated(self._path), self._turn, transaction(self._db):
            bulk.delete(self._db, BEATS, [(node_id,) for node_id in node_ids])

    def expired(self, now: int) -> dict[str, Beat]:
        """Return the beats whose time to live ended before ``now`` (nanoseconds)."""
        with translated(self._path), self._turn:
            return _read(self._db, "WHERE heard + ttl < ?", now)

    def all(self) -> dict[str, Beat]:
        with translated(self._path), self._turn:
            return _read(self._db)

    def close(self) -> None:
        with self._turn:
            self._db.close()


def beats_beside(path: Path) -> dict[str, Beat]:
    """Return the beats that are kept beside a store's file; none where they cannot be read."""
    file = path.with_name(FILE_NAME)
    with suppress(sqlite3.Error):
        if file.is_file():
            uri = f"{file.absolute().as_uri()}?mode=rw"
            with closing(sqlite3.connect(uri, uri=True, timeout=10.0)) as db:
                return _read(db)
    return {}


def _read(db: sqlite3.Connection, where: str = "", *values: int) -> dict[str, Beat]:
    rows = db.execute(f"SELECT node_id, heard, ttl FROM beats {where}", values)
    return {node_id: Beat(heard, ttl) for node_id, heard, ttl in rows.fetchall()}
