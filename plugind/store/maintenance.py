"""Checks and backs up the embedded store's file from another process, while a server uses it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plugind.errors import StoreError
from plugind.store.sqlite import MIGRATIONS

_STRAYS = """
    SELECT count(*) FROM instances WHERE node_id NOT IN (SELECT id FROM nodes)
"""
_AHEAD = """
    SELECT count(*) FROM stamps WHERE modify_index > (SELECT last_index FROM store)
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a sound file holds: the version of its schema, its last index, and how many of each."""

    schema: int
    index: int
    nodes: int
    instances: int
    declarations: int


def check(path: Path) -> Summary:
    """Looks through a whole file, as of one moment. Raises StoreError with what is wrong."""
    with _opened(path) as db:
        db.execute("BEGIN")
        (schema,) = _row(db, "PRAGMA user_version")
        if not 0 < schema <= len(MIGRATIONS):
            raise StoreError(f"{path}: its schema is {schema}, not one of 1 to {len(MIGRATIONS)}")
        (found,) = _row(db, "PRAGMA integrity_check(1)")
        if found != "ok":
            raise StoreError(f"{path} is damaged: {' '.join(str(found).split())}")
        for query, wrong in ((_STRAYS, "instances have no node"), (_AHEAD, "stamps are ahead")):
            (count,) = _row(db, query)
            if count:
                raise StoreError(f"{path} is damaged: {count} {wrong}")
        tables = ("nodes", "instances", "declarations")
        counts = [_row(db, f"SELECT count(*) FROM {table}")[0] for table in tables]
        return Summary(schema, _row(db, "SELECT last_index FROM store")[0], *counts)


def backup(source: Path, target: Path) -> Summary:
    """Writes a checked copy of one moment, durable before it has its name; ``target`` must not be
    there yet. Raises StoreError."""
    if target.exists():
        raise StoreError(f"{target} is there already: choose another name")
    try:
        with tempfile.TemporaryDirectory(prefix=".plugind-", dir=target.parent) as folder:
            copy = Path(folder) / "copy"
            with _opened(source) as db:
                db.execute("VACUUM INTO ?", (str(copy),))
            summary = check(copy)
            copy.chmod(0o600)  # it has the hashes of the nodes' secrets
            _sync(copy)
            os.link(copy, target)  # a rename would overwrite what came there meanwhile
            _sync(target.parent)
    except OSError as error:
        raise StoreError(f"{target}: {error.strerror}") from error
    return summary


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a file that must be there; what SQLite raises becomes a StoreError."""
    if not path.is_file():
        raise StoreError(f"{path} is not there")
    try:
        uri = f"{path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10.0)) as db:
            yield db
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error


def _row(db: sqlite3.Connection, query: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = db.execute(query).fetchone()
    if row is None:
        raise sqlite3.DatabaseError("a row that must be there is missing")
    return row


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
