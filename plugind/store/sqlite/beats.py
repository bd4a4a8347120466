"""Keeps when nodes were last heard, in a file of its own that is never synced.

A heartbeat must cost no fsync, and must not make commits less durable, so the two use separate
files. A crash of the machine may damage this one: then a new one is made, and nodes count as heard
when their server started.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from pathlib import Path

from plugind import logs
from plugind.model import Beat
from plugind.store.base import Heard
from plugind.store.sqlite import bulk
from plugind.store.sqlite.file import TEMP_IN_MEMORY, schema, transaction, translated
from plugind.store.sqlite.turn import Turn

FILE_NAME = "beats.db"
TURN_NAME = f"{FILE_NAME}.turn"

RUNS_KEPT = 4
"""Agents of one node ID whose last beats are kept: more than two send beats only while one
restarts."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_PARTS = ("", "-wal", "-shm", "-journal")
_VERSION = 2
_COLUMNS = ("node_id", "run", "heard", "ttl", "number")
_SCHEMA = (
    "CREATE TABLE store (identity TEXT NOT NULL, boot TEXT NOT NULL, last INTEGER NOT NULL)",
    """
    CREATE TABLE heard (
        node_id TEXT NOT NULL, run TEXT NOT NULL, heard INTEGER NOT NULL, ttl INTEGER NOT NULL,
        number INTEGER NOT NULL, PRIMARY KEY (node_id, run)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX heard_by_number ON heard (number)",
    f"""
    CREATE TRIGGER old_runs AFTER INSERT ON heard BEGIN
        DELETE FROM heard WHERE node_id = new.node_id AND run IN (
            SELECT run FROM heard WHERE node_id = new.node_id
            ORDER BY number DESC, heard DESC LIMIT -1 OFFSET {RUNS_KEPT}
        ); END
    """,
)
_log = logs.get("store")


class Beats:
    """The beats of a store's nodes. Thread-safe.

    The first process to open the store (``is_first``) makes the file again if it is damaged, is of
    another store, or was written before the machine's last start, which may have followed a crash.
    Numbers grow with each put, and are never reused.
    """

    def __init__(
        self, data_dir: Path, identity: str, *, is_first: bool = True, turn: Turn | None = None
    ) -> None:
        self._path = data_dir / FILE_NAME
        self._lock = threading.Lock()
        self._turn = turn
        db = _fitting(self._path, identity) if is_first else _connected(self._path)
        if db is None:
            _begin(self._path, identity, _rescued(self._path, identity))
            db = _connected(self._path)
        self._db = db

    @contextmanager
    def _writing(self) -> Iterator[None]:
        turn = self._turn.held() if self._turn else nullcontext()
        with translated(self._path), self._lock, turn, transaction(self._db):
            yield

    def put(self, beats: Mapping[str, Beat]) -> None:
        """Keep when nodes were heard, replacing earlier beats of the same agents."""
        if not beats:
            return
        with self._writing():
            (last,) = self._db.execute("UPDATE store SET last = last + 1 RETURNING last").fetchone()
            _put(self._db, beats.items(), last)

    def drop(self, node_ids: Collection[str]) -> None:
        with self._writing():
            ids = [(node_id,) for node_id in node_ids]
            self._db.executemany("DELETE FROM heard WHERE node_id = ?", ids)

    def heard(self, after: int) -> Heard:
        """Return the beats that were kept after a number."""
        with translated(self._path), self._lock:
            rows = self._db.execute(
                "SELECT number, node_id, heard, ttl, run FROM heard WHERE number > ? "
                "ORDER BY number, heard",
                (after,),
            ).fetchall()
        return Heard(rows[-1][0] if rows else after, [(row[1], Beat(*row[2:])) for row in rows])

    def all(self) -> dict[str, Beat]:
        with translated(self._path), self._lock:
            return _read(self._db)

    def close(self) -> None:
        with self._lock:
            self._db.close()


def beats_beside(path: Path) -> dict[str, Beat]:
    """Return the beats that are kept next to a store's file; none if they cannot be read."""
    file = path.with_name(FILE_NAME)
    with suppress(sqlite3.Error):
        if file.is_file():
            uri = f"{file.absolute().as_uri()}?mode=rw"
            with closing(sqlite3.connect(uri, uri=True, timeout=10.0)) as db:
                return _read(db)
    return {}


def _boot() -> str:
    """Return the ID of the machine's last start; "" if the kernel gives none."""
    with suppress(OSError):
        return _BOOT.read_text().strip()
    return ""


def _connected(path: Path, mode: str = "rw") -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10.0)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        db.execute(TEMP_IN_MEMORY)
    except BaseException:
        db.close()
        raise
    return db


def _fitting(path: Path, identity: str) -> sqlite3.Connection | None:
    """Return a connection to the file if it can be used as it is, else None."""
    if not path.is_file():
        return None
    with ExitStack() as undo:
        try:
            db = undo.enter_context(closing(_connected(path)))
            _read(db)
            head = db.execute("SELECT identity, boot FROM store").fetchall()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
                raise
            return None
        if schema(db) != _VERSION or head != [(identity, _boot())]:
            return None
        undo.pop_all()
        return db


def _rescued(path: Path, identity: str) -> dict[str, Beat]:
    """Return the beats in a file of the same store that cannot be used as it is: one of an earlier
    version, or from before the machine's last start. Return none if it is damaged."""
    if not path.is_file():
        return {}
    try:
        with closing(_connected(path)) as db:
            if db.execute("PRAGMA integrity_check(1)").fetchall() != [("ok",)]:
                raise sqlite3.DatabaseError("it is damaged")
            if db.execute("SELECT identity FROM store").fetchall() != [(identity,)]:
                return {}  # of a store that was replaced
            if schema(db) == _VERSION:
                return _read(db)
            rows = db.execute("SELECT node_id, heard, ttl FROM beats").fetchall()
            return {node_id: Beat(*rest) for node_id, *rest in rows}
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
            raise
        _log.warning("when nodes were last heard is lost: the file is damaged", path=path)
        return {}


def _begin(path: Path, identity: str, beats: Mapping[str, Beat]) -> None:
    for part in _PARTS:
        path.with_name(path.name + part).unlink(missing_ok=True)
    with closing(_connected(path, "rwc")) as db, transaction(db):
        for statement in _SCHEMA:
            db.execute(statement)
        db.execute("INSERT INTO store VALUES (?, ?, 1)", (identity, _boot()))
        _put(db, beats.items(), 1)
        db.execute(f"PRAGMA user_version = {_VERSION}")


def _put(db: sqlite3.Connection, beats: Iterable[tuple[str, Beat]], number: int) -> None:
    rows = [(node_id, beat.run, beat.heard, beat.ttl, number) for node_id, beat in beats]
    bulk.upsert(db, "heard", _COLUMNS, 2, rows)


def _read(db: sqlite3.Connection) -> dict[str, Beat]:
    """Return the last beat of each node."""
    rows = db.execute("SELECT node_id, heard, ttl, run FROM heard ORDER BY heard")
    return {node_id: Beat(*rest) for node_id, *rest in rows.fetchall()}
