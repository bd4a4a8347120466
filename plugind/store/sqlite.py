"""The embedded store: one SQLite file, written by one process.

WAL with synchronous FULL: a commit is on the disk before it returns (https://sqlite.org/wal.html,
"Durability"). Everything that SQLite raises becomes a StoreError here.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from plugind.errors import StoreError
from plugind.fields import Record
from plugind.model import Change, Stamp
from plugind.plugin_type import hookimpl
from plugind.store.base import FIRST_INDEX, Contents, Store
from plugind.store.sqlite_rows import (
    DECLARATIONS,
    INSTANCES,
    NODES,
    Table,
    declaration,
    declaration_row,
    instance,
    instance_row,
    node,
    node_row,
)

FILE_NAME = "plugind.db"

MIGRATIONS = (
    """
    CREATE TABLE store (identity TEXT NOT NULL, last_index INTEGER NOT NULL);
    CREATE TABLE nodes (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, datacenter TEXT NOT NULL, version TEXT NOT NULL,
        address TEXT NOT NULL, attributes TEXT NOT NULL, meta TEXT NOT NULL,
        secret_hash TEXT NOT NULL, status TEXT NOT NULL, status_since INTEGER NOT NULL,
        back_since INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE instances (
        node_id TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, role TEXT NOT NULL,
        healthy INTEGER NOT NULL, description TEXT NOT NULL, updated INTEGER NOT NULL,
        alloc_id TEXT NOT NULL, details TEXT NOT NULL, digest TEXT NOT NULL, missing_since INTEGER,
        PRIMARY KEY (node_id, type, id, role)
    ) WITHOUT ROWID;
    CREATE TABLE declarations (
        type TEXT NOT NULL, id TEXT NOT NULL, expected TEXT NOT NULL, PRIMARY KEY (type, id)
    ) WITHOUT ROWID;
    CREATE TABLE stamps (
        resource TEXT PRIMARY KEY, create_index INTEGER NOT NULL, modify_index INTEGER NOT NULL,
        create_time INTEGER NOT NULL, modify_time INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
    "ALTER TABLE nodes ADD COLUMN cloned_since INTEGER NOT NULL DEFAULT 0",
)
"""The schema's history: the script at position N takes a file from user_version N to N + 1."""


class SqliteSettingsSchema(Record):
    """``store "sqlite" { }`` has no settings: the file lies in ``data_dir``."""

    record: ClassVar[type[Any] | None] = None


_STAMP = """
    INSERT INTO stamps (resource, create_index, modify_index, create_time, modify_time)
    VALUES (?1, ?2, ?2, ?3, ?3)
    ON CONFLICT (resource) DO UPDATE SET modify_index = ?2, modify_time = ?3
"""


class SqliteStore(Store):
    """Keeps everything in ``data_dir/plugind.db``; a lock beside it keeps other processes out."""

    settings_schema = SqliteSettingsSchema

    def __init__(self, settings: Any, data_dir: Path) -> None:
        self._path = data_dir / FILE_NAME
        self._lock = _lock(data_dir)
        with ExitStack() as undo, self._translated():
            undo.callback(os.close, self._lock)
            self._db = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=10.0
            )
            undo.callback(self._db.close)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._migrate()
            self._identity, self._index = self._db.execute(
                "SELECT identity, last_index FROM store"
            ).fetchone()
            undo.pop_all()

    @property
    def identity(self) -> str:
        return str(self._identity)

    def load(self) -> Contents:
        with self._translated():
            return Contents(
                self._index,
                [node(row) for row in self._rows(NODES)],
                [instance(row) for row in self._rows(INSTANCES)],
                [declaration(row) for row in self._rows(DECLARATIONS)],
                {
                    resource: Stamp(*stamp)
                    for resource, *stamp in self._db.execute(
                        "SELECT resource, create_index, modify_index, create_time, modify_time "
                        "FROM stamps"
                    )
                },
            )

    def commit(self, changes: Sequence[Change]) -> Sequence[int]:
        indexes = range(self._index + 1, self._index + 1 + len(changes))
        with self._transaction():
            for index, change in zip(indexes, changes, strict=True):
                self._write(index, change)
            self._db.execute("UPDATE store SET last_index = ?", (indexes[-1],))
        self._index = indexes[-1]
        return indexes

    def close(self) -> None:
        with self._translated():
            self._db.close()
        os.close(self._lock)

    def _rows(self, table: Table) -> Iterator[Sequence[Any]]:
        yield from self._db.execute(
            f"SELECT {', '.join(table.key + table.others)} FROM {table.name}"
        )

    def _write(self, index: int, change: Change) -> None:
        self._put(NODES, ((s.before, s.after, node_row) for s in change.nodes))
        self._put(INSTANCES, ((s.before, s.after, instance_row) for s in change.instances))
        self._put(DECLARATIONS, ((s.before, s.after, declaration_row) for s in change.declarations))
        self._db.executemany(
            _STAMP,
            [(resource, index, change.time) for resource in change.touched - change.removed],
        )
        self._db.executemany(
            "DELETE FROM stamps WHERE resource = ?", [(resource,) for resource in change.removed]
        )

    def _put(self, table: Table, steps: Iterable[tuple[Any, Any, Any]]) -> None:
        puts, deletes = [], []
        for before, after, row in steps:
            if after is not None:
                puts.append(row(after))
            elif before is not None:
                deletes.append(row(before)[: len(table.key)])
        self._db.executemany(table.delete, deletes)
        self._db.executemany(table.put, puts)

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise StoreError(
                f"{self._path} was written by a newer plugind (its schema is {version}, this one "
                f"knows {len(MIGRATIONS)}): upgrade plugind or restore a backup"
            )
        with self._transaction():
            for number, script in enumerate(MIGRATIONS[version:], version + 1):
                for statement in script.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number}")
            if version == 0:
                self._db.execute(
                    "INSERT INTO store (identity, last_index) VALUES (?, ?)",
                    (str(uuid.uuid4()), FIRST_INDEX),
                )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # Some errors, a full disk among them, have rolled back already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"the store {self._path}: {error}") from error


def _lock(data_dir: Path) -> int:
    """Takes the lock that keeps a second server out of the folder; it goes with the process."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(data_dir / f"{FILE_NAME}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"data_dir {data_dir}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StoreError(f"another plugind server is running on data_dir {data_dir}") from error
    return lock


@hookimpl
def plugind_stores() -> Mapping[str, type[Store]]:
    return {"sqlite": SqliteStore}
