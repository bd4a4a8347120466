"""Checks and backs up the embedded store's file from another process, while a server uses it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from plugind.errors import StoreError
from plugind.model import Beat
from plugind.store.base import Contents, Summary
from plugind.store.sqlite import bulk
from plugind.store.sqlite.beats import beats_beside
from plugind.store.sqlite.file import (
    MIGRATIONS,
    Damaged,
    migrate,
    opened,
    schema,
    transaction,
    translated,
)
from plugind.store.sqlite.rows import BEATS, contents


def check(path: Path) -> Summary:
    """Check a whole file, as of one moment. Raise StoreError with the problem."""
    with snapshot(path) as db:
        version = schema(db)
        migrate(db, path)
        return Summary.of(version, contents(db))


def backup(source: Path, target: Path) -> Summary:
    """Write a checked copy of one moment, durable before it has its name; ``target`` must not be
    there yet. Raise StoreError."""
    with new_file(target) as copy:
        with opened(source) as db:
            db.execute("VACUUM INTO ?", (str(copy),))
        with opened(copy) as db:
            version = schema(db)
            migrate(db, copy)
            beats = with_beats(contents(db), beats_beside(source)).beats
            with transaction(db):
                bulk.put(db, BEATS, [(node_id, *beat[:2]) for node_id, beat in beats.items()])
                clear_log(db)  # it is of no use after a restore
            db.execute("VACUUM")
        return replace(check(copy), schema=version)


def with_beats(found: Contents, beats: Mapping[str, Beat]) -> Contents:
    """Return contents with the beats of its nodes, over those that it has already."""
    there = {node.id for node in found.nodes}
    newer = {node_id: beat for node_id, beat in beats.items() if node_id in there}
    return replace(found, beats={**found.beats, **newer})


def clear_log(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM log")
    db.execute("DELETE FROM scopes")
    db.execute("UPDATE store SET log_size = 0")


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Give the path of a file to make. After the block it is durable and has the name ``target``,
    which must not be there yet."""
    if target.exists():
        raise StoreError(f"{target} is there already: choose another name")
    with (
        translated(target),
        tempfile.TemporaryDirectory(prefix=".plugind-", dir=target.parent) as folder,
    ):
        yield (copy := Path(folder) / "copy")
        copy.chmod(0o600)  # it has the hashes of the nodes' secrets
        sync(copy)
        os.link(copy, target)  # a rename would overwrite what came there meanwhile
        sync(target.parent)


@contextmanager
def snapshot(path: Path, mode: str = "rw") -> Iterator[sqlite3.Connection]:
    """Copy a file, as of one moment, to memory, and close the copy after the block.

    Raise StoreError for a file that is not plugind's, and Damaged for damage in its pages.
    """
    with (
        translated(path),
        closing(sqlite3.connect(":memory:", isolation_level=None)) as copy,
    ):
        with opened(path, mode) as db:
            db.backup(copy)
        if schema(copy) == 0:
            raise StoreError(f"{path}: its schema is 0, not one of 1 to {len(MIGRATIONS)}")
        (found,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise Damaged(" ".join(str(found).split()))
        yield copy


def sync(path: Path) -> None:
    """Make a file's contents, or a folder's names, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
