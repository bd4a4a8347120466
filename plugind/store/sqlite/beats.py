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
from plugind.store.base import Heard
from plugind.store.sqlite.file import TEMP_IN_MEMORY, transaction, translated

FILE_NAME = "beats.db"

_PARTS = ("", "-wal", "-shm", "-journal")
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS store (identity TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS heard (
        node_id TEXT NOT NULL, run TEXT NOT NULL, heard INTEGER NOT NULL, ttl INTEGER NOT NULL,
        number INTEGER NOT NULL, PRIMARY KEY (node_id, run)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS heard_by_number ON heard (number)
"""
_OF_FIRST_VERSION = "SELECT count(*) FROM sqlite_schema WHERE name = 'beats'"
_TAKE_OVER = "INSERT OR IGNORE INTO heard SELECT node_id, '', heard, ttl, 1 FROM beats"
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
                if db.execute(_OF_FIRST_VERSION).fetchone() != (0,):
                    db.execute(_TAKE_OVER)
                    db.execute("DROP TABLE beats")
                if db.execute("SELECT identity FROM store").fetchall() != [(identity,)]:
                    db.execute("DELETE FROM store")
                    db.execute("DELETE FROM heard")  # they are of a store that was replaced
                    db.execute("INSERT INTO store VALUES (?)", (identity,))
            _read(db)
        except BaseException:
            db.close()
            raise
        return db

    def put(self, beats: Mapping[str, Beat]) -> None:
        with translated(self._path), self._turn, transaction(self._db):
            (last,) = self._db.execute("SELECT ifnull(max(number), 0) FROM heard").fetchone()
            rows = [
                (node_id, beat.run, beat.heard, beat.ttl, last + 1)
                for node_id, beat in beats.items()
            ]
            self._db.executemany("INSERT OR REPLACE INTO heard VALUES (?, ?, ?, ?, ?)", rows)

    def drop(self, node_ids: Collection[str]) -> None:
        with translated(self._path), self._turn, transaction(self._db):
            ids = [(node_id,) for node_id in node_ids]
            self._db.executemany("DELETE FROM heard WHERE node_id = ?", ids)

    def heard(self, after: int) -> Heard:
        """Return the beats that were kept after a number."""
        with translated(self._path), self._turn:
            rows = self._db.execute(
                "SELECT number, node_id, heard, ttl, run FROM heard WHERE number > ? "
                "ORDER BY number, heard",
                (after,),
            ).fetchall()
        return Heard(rows[-1][0] if rows else after, [(row[1], Beat(*row[2:])) for row in rows])

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


def _read(db: sqlite3.Connection) -> dict[str, Beat]:
    """Return the last beat of each node."""
    rows = db.execute("SELECT node_id, heard, ttl, run FROM heard ORDER BY heard")
    return {node_id: Beat(*rest) for node_id, *rest in rows.fetchall()}
