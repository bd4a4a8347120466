"""Makes a file of the embedded store from an export."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from plugind.errors import StoreError
from plugind.model import StoredTransition
from plugind.store import exporting
from plugind.store.base import Progress
from plugind.store.exporting import Item
from plugind.store.sqlite import items
from plugind.store.sqlite.file import migrate, quick
from plugind.store.sqlite.sound import faults


@contextmanager
def filled(
    source: Path, file: Path, progress: Progress, *, has_gaps: bool = True
) -> Iterator[sqlite3.Connection]:
    """Read an export into a new file of the embedded store, and check it there. Raise StoreError if
    it is not sound. Without ``has_gaps``, transitions are renumbered so that ``seq`` grows by one
    with each, which the embedded store relies on."""
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        quick(db)
        migrate(db, file)
        db.execute("BEGIN")  # no rollback is possible: a file that is not sound is discarded
        with exporting.reading(source) as export:
            read: dict[str, int] = {}
            found = _counted(export.items(progress), read)
            items.write(db, found if has_gaps else _without_gaps(found))
        db.execute(
            "UPDATE store SET identity = ?, last_index = ?",
            (export.head.identity, export.head.index),
        )
        written = items.counts(db)
        twice = [name for name, number in read.items() if number != written[name]]
        fault = f"several lines are of the same {twice[0]}" if twice else next(faults(db), "")
        if fault:
            raise StoreError(f"{source}: {fault}")
        db.execute("COMMIT")
        yield db


def _counted(found: Iterator[Item], numbers: dict[str, int]) -> Iterator[Item]:
    names = {kind: name for name, kind in exporting.KINDS.items()}
    for each in found:
        name = names[type(each)]
        numbers[name] = numbers.get(name, 0) + 1
        yield each


def _without_gaps(found: Iterator[Item]) -> Iterator[Item]:
    """Yield the same items, with the transitions numbered from the ``seq`` of the first without
    gaps."""
    last: int | None = None
    for each in found:
        if isinstance(each, StoredTransition):
            last = each.seq if last is None else last + 1
            yield each if each.seq == last else each.changed(seq=last)
        else:
            yield each
