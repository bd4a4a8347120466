"""Checks and backs up the embedded store's file from another process, while a server uses it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from plugind.errors import StoreError
from plugind.store.base import Summary
from plugind.store.files import new_file
from plugind.store.sqlite import bulk
from plugind.store.sqlite.beats import beats_beside
from plugind.store.sqlite.file import (
    MIGRATIONS,
    Damaged,
    migrate,
    opened,
    quick,
    schema,
    transaction,
    translated,
)
from plugind.store.sqlite.rows import BEATS
from plugind.store.sqlite.sound import examined

_OF_THE_COPY = ("SQLITE_FULL", "SQLITE_IOERR_WRITE")


class NoRoom(StoreError):
    """A copy could not be written; its source may be sound."""


def check(path: Path) -> Summary:
    """Check a whole file, as of one moment. Raise StoreError with the problem.

    The server can go on writing meanwhile, but for these few seconds its log cannot be
    checkpointed. Only a file of an older schema is copied, to memory, because it has to be migrated
    first.
    """
    with opened(path) as db, transaction(db, "DEFERRED"):
        if schema(db) == len(MIGRATIONS):
            _check_pages(db)
            return examined(db)
    with snapshot(path) as db:
        version = schema(db)
        migrate(db, path)
        return replace(examined(db), schema=version)


def backup(source: Path, target: Path) -> Summary:
    """Write a checked copy of a file, as of one moment, to ``target``, which must not exist yet. It
    is durable before it gets that name. Raise StoreError."""
    with new_file(target) as copy:
        with snapshot(source, copy.with_name("snapshot"), wanted=target) as db:
            version = schema(db)
            migrate(db, source)
            examined(db)
            with transaction(db):
                put_beats(db, source)
                clear_log(db)  # it is useless after a restore
            # A VACUUM in place would hold the whole file in memory as a temporary file.
            db.execute("VACUUM INTO ?", (str(copy),))
        return replace(check(copy), schema=version)


def put_beats(db: sqlite3.Connection, source: Path) -> None:
    """Write the beats that are kept next to ``source`` into a copy of it, replacing those that it
    has of the same nodes."""
    beats = beats_beside(source)
    bulk.put(db, BEATS, [(node_id, *beat[:2]) for node_id, beat in beats.items()])
    db.execute("DELETE FROM beats WHERE node_id NOT IN (SELECT id FROM nodes)")


def clear_log(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM log")
    db.execute("DELETE FROM scopes")
    db.execute("UPDATE store SET log_size = 0")


@contextmanager
def snapshot(
    path: Path, copy: Path | None = None, *, wanted: Path | None = None, mode: str = "rw"
) -> Iterator[sqlite3.Connection]:
    """Copy a file, as of one moment, to memory or to a new file, and open the copy for the block.

    Raise StoreError for a file that is not plugind's, for damage in its pages, and if the copy
    cannot be written; the last error names ``wanted``, the file that the copy is made for.
    """
    with (
        translated(path),
        closing(sqlite3.connect(copy or ":memory:", isolation_level=None)) as db,
    ):
        quick(db)
        with opened(path, mode) as source:
            try:
                source.backup(db)
            except sqlite3.Error as error:
                if wanted and getattr(error, "sqlite_errorname", "") in _OF_THE_COPY:
                    raise NoRoom(f"no room for a copy beside {wanted}: {error}") from error
                raise
        quick(db)  # the copy begins in the mode of the source
        if schema(db) == 0:
            raise StoreError(f"{path}: its schema is 0, not one of 1 to {len(MIGRATIONS)}")
        _check_pages(db)
        yield db


def _check_pages(db: sqlite3.Connection) -> None:
    (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise Damaged(" ".join(str(found).split()))
