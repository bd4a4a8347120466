"""Checks and backs up the embedded store's file from another process, while a server uses it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from plugind.errors import StoreError
from plugind.store.base import Contents
from plugind.store.sqlite_file import MIGRATIONS, Damaged, migrate, opened, schema, translated
from plugind.store.sqlite_rows import contents


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
    with snapshot(path) as db:
        version = schema(db)
        migrate(db, path)
        return summary(version, contents(db))


def summary(version: int, found: Contents) -> Summary:
    counts = (found.nodes, found.instances, found.declarations)
    return Summary(version, found.index, *(len(each) for each in counts))


def backup(source: Path, target: Path) -> Summary:
    """Writes a checked copy of one moment, durable before it has its name; ``target`` must not be
    there yet. Raises StoreError."""
    if target.exists():
        raise StoreError(f"{target} is there already: choose another name")
    with (
        translated(target),
        tempfile.TemporaryDirectory(prefix=".plugind-", dir=target.parent) as folder,
    ):
        copy = Path(folder) / "copy"
        with opened(source) as db:
            db.execute("VACUUM INTO ?", (str(copy),))
        found = check(copy)
        copy.chmod(0o600)  # it has the hashes of the nodes' secrets
        sync(copy)
        os.link(copy, target)  # a rename would overwrite what came there meanwhile
        sync(target.parent)
    return found


@contextmanager
def snapshot(path: Path, mode: str = "rw") -> Iterator[sqlite3.Connection]:
    """A file as of one moment, copied to memory: one of plugind's, with no damage in its pages."""
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
    """Makes a file's contents, or a folder's names, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
