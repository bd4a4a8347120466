"""Exports the embedded store as JSON lines, and imports such an export."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from plugind.errors import StoreError
from plugind.store import exporting
from plugind.store.base import Progress, Restored, Summary
from plugind.store.files import check_is_new, faults_of
from plugind.store.sqlite import items
from plugind.store.sqlite.file import migrate, schema, transaction
from plugind.store.sqlite.filling import filled
from plugind.store.sqlite.maintenance import put_beats, snapshot
from plugind.store.sqlite.restoring import put_in_force, replacing
from plugind.store.sqlite.rows import head
from plugind.store.sqlite.sound import examined


def export(path: Path, target: Path, progress: Progress) -> Summary:
    """Write the contents of a file, as of one moment, to a new file of JSON lines.

    They are read from a copy next to the target, which may have to be migrated. Reading the
    server's own file all that time would keep its log from being checkpointed.
    """
    check_is_new(target)
    with (
        faults_of(target),
        tempfile.TemporaryDirectory(prefix=".plugind-", dir=target.parent) as folder,
        snapshot(path, Path(folder) / "copy", wanted=target) as db,
    ):
        version = schema(db)
        migrate(db, path)
        with transaction(db):
            put_beats(db, path)
        found = examined(db)
        identity, index = head(db)
        exporting.write(target, identity, index, items.counts(db), items.read_all(db), progress)
    return replace(found, schema=version)


def import_(source: Path, data_dir: Path, lists: Collection[str], progress: Progress) -> Restored:
    """Replace the store's file with an export. Nothing is replaced until the whole export has been
    read and found sound. Raise StoreError."""
    if not source.is_file():
        raise StoreError(f"{source} is not there")
    with replacing(data_dir) as new, filled(source, new, progress, has_gaps=False) as db:
        return put_in_force(db, new, data_dir, lists, is_own=False)
