"""A queryable copy of the history, for a store that only keeps transitions as they came.

It is an SQLite file with the table and the queries of the embedded store. It can always be filled
again from the store, so a file that is damaged, or comes from another store or another version of
plugind, is simply emptied.
"""

from __future__ import annotations

import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import groupby
from pathlib import Path

from plugind import logs
from plugind.errors import StoreError
from plugind.model import HistoryQuery, StoredTransition
from plugind.store.base import Retention
from plugind.store.sqlite import history
from plugind.store.sqlite.file import TEMP_IN_MEMORY, transaction, translated
from plugind.store.sqlite.turn import Turn

FILE_NAME = "history.db"

FILES = tuple(f"{FILE_NAME}{part}" for part in ("", "-wal", "-shm", ".turn"))
"""The files that a derived history has in ``data_dir``."""

_PARTS = ("", "-wal", "-shm", "-journal")
_TABLES = f"""
    CREATE TABLE derived (
        identity TEXT NOT NULL, last_index INTEGER NOT NULL, last_seq INTEGER NOT NULL,
        kept INTEGER NOT NULL, has_deleted INTEGER NOT NULL
    );
    {history.TABLE}
"""
_SCHEMA = zlib.crc32(_TABLES.encode()) >> 1
"""Goes into user_version, which has 31 bits."""

_PATIENCE = 60.0
"""Seconds to wait for another process that opens the file, which may have to be checked."""

_log = logs.get("store")


class DerivedHistory:
    """The transitions of the store ``identity``, each with the ``seq`` that its store gave it:
    these increase, and may have gaps. Safe for threads, and for processes that share the file.

    Every method raises StoreError when it cannot do its work. A power failure may lose the last
    transitions; ``index`` then goes back with them.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._path = path
        self._turn_path = path.with_name(f"{path.name}.turn")
        self._identity = identity
        self._writing = threading.RLock()
        self._is_at_once = False
        self._idle: list[sqlite3.Connection] = []
        self._idle_turn = threading.Lock()
        self._is_closed = False
        # If two processes find the file damaged, the second must not delete the first's new file.
        with (
            translated(path),
            closing(Turn(self._turn_path, _PATIENCE)) as turn,
            turn.held(),
        ):
            self._db = self._begun()

    @property
    def index(self) -> int:
        """Return the index up to which all transitions are here; 0 for none."""
        with self._reader() as db:
            (index,) = db.execute("SELECT last_index FROM derived").fetchone()
        return int(index)

    @property
    def size(self) -> int:
        """Return how many transitions are here."""
        with self._reader() as db:
            (kept,) = db.execute("SELECT kept FROM derived").fetchone()
        return int(kept)

    @property
    def oldest(self) -> tuple[int, int] | None:
        """Return where the history begins: the ``seq`` of its oldest transition, and the index of
        the change that brought it. The store need not keep older transitions. None if it is
        empty."""
        with self._reader() as db:
            row = db.execute("SELECT seq, number FROM transitions ORDER BY seq LIMIT 1").fetchone()
        return (int(row[0]), int(row[1])) if row else None

    @property
    def deleted_until(self) -> int:
        """Return the index of the last change whose transitions may have been deleted; 0 for
        none."""
        with self._reader() as db:
            (index,) = db.execute(
                "SELECT coalesce(min(number), 0) FROM transitions, derived WHERE has_deleted"
            ).fetchone()
        return int(index)

    def note_deleted(self) -> None:
        """Note that the store has deleted transitions older than those that it has."""
        with self._transaction() as db:
            db.execute("UPDATE derived SET has_deleted = 1")

    def append(
        self,
        rows: Sequence[StoredTransition],
        index: int,
        retention: Retention | None = None,
        now: int | None = None,
    ) -> None:
        """Add the transitions of further changes, in the order of ``seq``: the history then has all
        up to ``index``. Skip those that are here already.

        Each change with transitions is written as the embedded store writes it, at the time ``now``
        or that of its last transition: time never goes back, and flapping within the same hour
        keeps its place. With ``retention``, delete transitions that are too old or too many, up to
        twice as many as were added.
        """
        with self._transaction() as db:
            last, kept = db.execute("SELECT last_seq, kept FROM derived").fetchone()
            gone = 0
            new = [each for each in rows if each.seq > last]
            for _, group in groupby(new, _index):
                change = list(group)
                came = change[-1].transition.time if now is None else now
                before, added = history.write(db, change, came)
                last, kept = change[-1].seq, kept + added
                if retention:
                    earliest = min(came, before) - retention.keep
                    gone += history.prune(db, earliest, kept - gone - retention.maximum, 2 * added)
            db.execute(
                "UPDATE derived SET last_index = max(last_index, ?), last_seq = ?, kept = ?, "
                "has_deleted = has_deleted OR ?",
                (index, last, kept - gone, gone > 0),
            )

    def prune(self, retention: Retention, now: int) -> int:
        """Delete the oldest transitions, at most PRUNED_AT_ONCE, that are too many or, at the time
        ``now``, too old. Return how many were deleted: call this again until that is 0."""
        with self._transaction() as db:
            (kept,) = db.execute("SELECT kept FROM derived").fetchone()
            # The clock may have leapt: age counts only up to the newest transition.
            earliest = min(now, history.newest(db)[1]) - retention.keep
            excess = kept - retention.maximum
            gone = history.prune(db, earliest, excess, history.PRUNED_AT_ONCE)
            db.execute(
                "UPDATE derived SET kept = ?, has_deleted = has_deleted OR ?",
                (kept - gone, gone > 0),
            )
        return gone

    def select(self, query: HistoryQuery) -> list[StoredTransition]:
        """Return the transitions that a query selects, in the order that it asks for."""
        with self._reader() as db:
            return history.select(db, query)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Make everything that the thread writes in the block one transaction. Others write before
        or after it; until it ends, the history reads as before."""
        with (
            translated(self._path),
            closing(Turn(self._turn_path, _PATIENCE)) as turn,
            turn.held(),
            self._transaction(),
        ):
            self._is_at_once = True
            try:
                yield
            finally:
                self._is_at_once = False

    def clear(self) -> None:
        """Delete everything, for example when the store's log does not reach back to ``index``."""
        with self._transaction() as db:
            _make(db, self._identity)

    def close(self) -> None:
        """Close the file. Readers that are still at work close their connections when they end."""
        with self._writing, self._idle_turn:
            self._is_closed = True
            for db in (*self._idle, self._db):
                db.close()
            self._idle.clear()

    def _begun(self) -> sqlite3.Connection:
        try:
            return self._opened()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            _log.warning("the history is read from the store again", path=self._path, error=error)
            for part in _PARTS:
                self._path.with_name(self._path.name + part).unlink(missing_ok=True)
            return self._opened()

    def _opened(self) -> sqlite3.Connection:
        db = self._connected()
        try:
            (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(" ".join(str(found).split()))
            with transaction(db):
                if not self._is_whole(db):
                    _make(db, self._identity)
        except BaseException:
            db.close()
            raise
        return db

    def _is_whole(self, db: sqlite3.Connection) -> bool:
        (schema,) = db.execute("PRAGMA user_version").fetchone()
        if schema != _SCHEMA:
            return False
        return [self._identity] == [row[0] for row in db.execute("SELECT identity FROM derived")]

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=10.0
        )
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(TEMP_IN_MEMORY)
        except BaseException:
            db.close()
            raise
        return db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with translated(self._path), self._writing:
            self._check_open()
            if self._is_at_once:  # by this thread: the lock is its own
                yield self._db
                return
            with transaction(self._db):
                yield self._db

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """Provide a connection that no other thread uses during the block."""
        with translated(self._path):
            with self._idle_turn:
                self._check_open()
                db = self._idle.pop() if self._idle else None
            db = db or self._connected()
            try:
                yield db
            except BaseException:
                db.close()
                raise
            with self._idle_turn:
                if self._is_closed:
                    db.close()
                else:
                    self._idle.append(db)

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreError(f"{self._path} is closed")


def remove(data_dir: Path) -> None:
    """Delete the derived history in a folder that no server uses."""
    for name in FILES:
        with suppress(FileNotFoundError):
            (data_dir / name).unlink()


def _make(db: sqlite3.Connection, identity: str) -> None:
    """Drop all existing tables, and create empty ones."""
    names = db.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    for (name,) in names:
        db.execute('DROP TABLE "{}"'.format(name.replace('"', '""')))
    for statement in _TABLES.split(";"):
        db.execute(statement)
    db.execute("INSERT INTO derived VALUES (?, 0, 0, 0, 0)", (identity,))
    db.execute(f"PRAGMA user_version = {_SCHEMA}")


def _index(one: StoredTransition) -> int:
    return one.index
