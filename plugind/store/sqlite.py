"""The embedded store: one SQLite file, written by one process.

WAL with synchronous FULL: a commit is on the disk before it returns (https://sqlite.org/wal.html,
"Durability"). Everything that SQLite raises becomes a StoreError here.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from plugind.fields import Record
from plugind.model import Change
from plugind.plugin_type import hookimpl
from plugind.store.base import Contents, Store
from plugind.store.guard import Guard, check_before_opening
from plugind.store.sqlite_file import (
    FILE_NAME,
    lock,
    migrate,
    opened,
    transaction,
    translated,
)
from plugind.store.sqlite_rows import (
    DECLARATIONS,
    INSTANCES,
    NODES,
    STAMP,
    Table,
    contents,
    declaration_row,
    head,
    instance_row,
    node_row,
)


class SqliteSettingsSchema(Record):
    """``store "sqlite" { }`` has no settings: the file lies in ``data_dir``."""

    record: ClassVar[type[Any] | None] = None


class SqliteStore(Store):
    """Keeps everything in ``data_dir/plugind.db``; a lock beside it keeps other processes out."""

    settings_schema = SqliteSettingsSchema

    def __init__(self, settings: Any, data_dir: Path) -> None:
        self._path = data_dir / FILE_NAME
        self._lock = lock(data_dir)
        with ExitStack() as undo, translated(self._path):
            undo.callback(os.close, self._lock)
            check_before_opening(self._path)
            # It has the hashes of the nodes' secrets. SQLite makes its logs of the same mode.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=10.0
            )
            undo.callback(self._db.close)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            migrate(self._db, self._path)
            self._identity, self._index = head(self._db)
            self._guard = Guard(self._path)
            undo.pop_all()

    @property
    def identity(self) -> str:
        return self._identity

    def load(self) -> Contents:
        with translated(self._path):
            return contents(self._db)

    def commit(self, changes: Sequence[Change]) -> Sequence[int]:
        indexes = range(self._index + 1, self._index + 1 + len(changes))
        last = self._index + len(changes)
        with translated(self._path), transaction(self._db):
            for index, change in zip(indexes, changes, strict=True):
                self._write(index, change)
            self._db.execute("UPDATE store SET last_index = ?", (last,))
            self._guard.check(lambda: self._holds(self._index))
        self._index = last
        return indexes

    def _holds(self, index: int) -> bool:
        """Whether the files are, to one who comes new to them, this store at an index."""
        with opened(self._path, "ro") as db:
            return head(db) == (self._identity, index)

    def close(self) -> None:
        with ExitStack() as until_end, translated(self._path):
            until_end.callback(os.close, self._lock)
            self._db.close()

    def _write(self, index: int, change: Change) -> None:
        self._put(NODES, ((s.before, s.after, node_row) for s in change.nodes))
        self._put(INSTANCES, ((s.before, s.after, instance_row) for s in change.instances))
        self._put(DECLARATIONS, ((s.before, s.after, declaration_row) for s in change.declarations))
        self._db.executemany(
            STAMP,
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


@hookimpl
def plugind_stores() -> Mapping[str, type[Store]]:
    return {"sqlite": SqliteStore}
