"""Writes the embedded store as JSON lines, and makes one of them."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from plugind.errors import StoreError
from plugind.model import StoredTransition
from plugind.store import exporting
from plugind.store.base import Contents, Progress, Restored, Summary
from plugind.store.sqlite import bulk, history
from plugind.store.sqlite.beats import beats_beside
from plugind.store.sqlite.file import TEMP_IN_MEMORY, migrate, schema, transaction, translated
from plugind.store.sqlite.maintenance import new_file, snapshot, with_beats
from plugind.store.sqlite.restoring import restore
from plugind.store.sqlite.rows import (
    BEATS,
    DECLARATIONS,
    FORGOTTEN,
    INSTANCES,
    KEPT_SECRETS,
    NODES,
    RUNS,
    STAMPS,
    contents,
    declaration_row,
    forgotten_row,
    head,
    instance_row,
    kept_secret_row,
    node_row,
)

_ROWS_AT_ONCE = 10_000


def export(path: Path, target: Path, progress: Progress) -> Summary:
    """Write what a file holds, as of one moment, to a new file of JSON lines."""
    with new_file(target) as new, snapshot(path) as db:
        version = schema(db)
        migrate(db, path)
        identity, _ = head(db)
        found = with_beats(contents(db), beats_beside(path))
        exporting.write(new, identity, found, history.every(db), history.size(db), progress)
    return Summary.of(version, found)


def import_(source: Path, data_dir: Path, lists: Collection[str], progress: Progress) -> Restored:
    """Put an export in the place of the store's file. Nothing is replaced before all of it was
    read and found sound."""
    if not data_dir.is_dir():
        raise StoreError(f"{data_dir} is not there")
    with (
        translated(data_dir),
        tempfile.TemporaryDirectory(prefix=".plugind-", dir=data_dir) as folder,
    ):
        new = Path(folder) / "imported"
        with closing(sqlite3.connect(new, isolation_level=None)) as db:
            db.execute(TEMP_IN_MEMORY)
            migrate(db, new)
            with transaction(db):
                _fill(db, source, progress)
        return restore(new, data_dir, lists)


def _fill(db: sqlite3.Connection, source: Path, progress: Progress) -> None:
    waiting: list[StoredTransition] = []

    def write() -> None:
        history.put(db, [history.row(each) for each in waiting])
        waiting.clear()

    def take(one: StoredTransition) -> None:
        waiting.append(one)
        if len(waiting) == _ROWS_AT_ONCE:
            write()

    found = exporting.read(source, take, progress)
    write()
    put_contents(db, found)


def put_contents(db: sqlite3.Connection, found: Contents) -> None:
    """Write contents into a file that holds nothing yet."""
    db.execute("UPDATE store SET last_index = ?", (found.index,))
    bulk.put(db, NODES, [node_row(each) for each in found.nodes])
    bulk.put(db, INSTANCES, [instance_row(each) for each in found.instances])
    bulk.put(db, DECLARATIONS, [declaration_row(each) for each in found.declarations])
    bulk.put(db, FORGOTTEN, [forgotten_row(each) for each in found.forgotten])
    bulk.put(db, KEPT_SECRETS, [kept_secret_row(each) for each in found.kept_secrets])
    bulk.put(db, BEATS, [(node_id, *beat[:2]) for node_id, beat in found.beats.items()])
    bulk.put(db, RUNS, found.runs)
    stamps = found.stamps.items()
    bulk.put(
        db,
        STAMPS,
        [
            (name, one.create_index, one.modify_index, one.create_time, one.modify_time)
            for name, one in stamps
        ],
    )
