"""Puts a backup in the place of the embedded store's file, while no server runs.

Clients go on from the indexes that they have, so the restored store begins beyond all of them, and
every resource reads as changed. Killed at any point, this leaves either file whole under the name.
"""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from plugind.errors import StoreError
from plugind.model import Stamp, is_list
from plugind.store.base import Restored, Summary
from plugind.store.sqlite.file import (
    FILE_NAME,
    lock,
    migrate,
    opened,
    schema,
    transaction,
    translated,
)
from plugind.store.sqlite.maintenance import clear_log, snapshot, sync
from plugind.store.sqlite.rows import STAMP, contents, head

LEAP = 2**32
"""Beyond the backup's index, where nobody can say which indexes clients have seen since."""

# SQLite takes them for those of the file beside them. The index of a log is made again from it.
_LOGS = ("-wal", "-journal")
_INDEX = "-shm"


@dataclass(frozen=True, slots=True)
class _Replaced:
    """What clients may have seen of the file that goes; ``stamps`` is None if nobody can say."""

    index: int = 0
    stamps: Mapping[str, Stamp] | None = None


def restore(source: Path, data_dir: Path, lists: Collection[str]) -> Restored:
    """Put the copy ``source`` in force; ``lists`` are the resources that clients may wait for
    even where nothing was in them. Raise StoreError, and then nothing has changed."""
    target = data_dir / FILE_NAME
    with snapshot(source) as db:
        migrate(db, source)
        contents(db)  # all of it can be read
        with _locked(data_dir), translated(target):
            replaced = _replaced(target)
            _renumber(db, replaced, lists, time.time_ns())
            with _written(db, target) as new:
                kept = _set_aside(target, is_sound=replaced.stamps is not None)
                new.replace(target)
                sync(data_dir)
        return Restored(Summary.of(schema(db), contents(db)), kept)


def _replaced(path: Path) -> _Replaced:
    with suppress(StoreError), snapshot(path, "ro") as db:
        migrate(db, path)
        found = contents(db)
        return _Replaced(found.index, found.stamps)
    with suppress(StoreError), opened(path, "ro") as db:
        return _Replaced(head(db)[1])
    return _Replaced()


def _renumber(
    db: sqlite3.Connection, replaced: _Replaced, lists: Collection[str], now: int
) -> None:
    """Make it another store that continues where the replaced one ended, all of it changed now.

    A resource that the replaced one did not have, or another by the same name, is created again.
    """
    found, old = contents(db).stamps, replaced.stamps
    index = max(head(db)[1], replaced.index) + (LEAP if old is None else 1)
    anew = [each for each in found if old is not None and _is_another(each, found, old)]
    touched = {*found, *lists, *(each for each in old or () if is_list(each))}
    with transaction(db):
        clear_log(db)
        db.execute("DELETE FROM sessions")  # one that was ended since must not be open again
        db.execute("UPDATE store SET identity = ?, last_index = ?", (str(uuid.uuid4()), index))
        db.executemany("DELETE FROM stamps WHERE resource = ?", [(each,) for each in anew])
        db.executemany(STAMP, [(each, index, now) for each in touched])


def _is_another(resource: str, found: Mapping[str, Stamp], old: Mapping[str, Stamp]) -> bool:
    ours, theirs = found[resource], old.get(resource)
    return theirs is None or (
        (ours.create_index, ours.create_time) != (theirs.create_index, theirs.create_time)
    )


@contextmanager
def _written(db: sqlite3.Connection, target: Path) -> Iterator[Path]:
    """Write a durable file beside the target with the contents of ``db``, and yield its path.

    A file that is already there was left by a process that was killed.
    """
    new = target.with_name(f"{target.name}.restoring")
    new.unlink(missing_ok=True)
    try:
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        db.execute("VACUUM INTO ?", (str(new),))
        _give_to_owner(new)
        sync(new)
        yield new
    finally:
        new.unlink(missing_ok=True)


def _set_aside(target: Path, *, is_sound: bool) -> Path | None:
    """Give the present file a second name, and remove its log, which would be taken for the log of
    the new one. A sound file has it folded in by then, another keeps it beside its second name."""
    if is_sound:
        with opened(target) as db:
            db.execute("PRAGMA busy_timeout = 1000")
            is_busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise StoreError(f"{target} is in use by another program")
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    kept = f"{target}.replaced-{moment}"
    for part in ("", *_LOGS):
        file = Path(f"{target}{part}")
        if file.exists() and file.stat().st_size:
            os.link(file, f"{kept}{part}")
    sync(target.parent)
    for part in (*_LOGS, _INDEX):
        Path(f"{target}{part}").unlink(missing_ok=True)
    sync(target.parent)
    return Path(kept) if Path(kept).exists() else None


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    taken = lock(data_dir)
    try:
        _give_to_owner(data_dir / f"{FILE_NAME}.lock")
        yield
    finally:
        os.close(taken)


def _give_to_owner(path: Path) -> None:
    """Give a file to the owner of its folder: the server's user, who must be able to open it."""
    folder = path.parent.stat()
    with suppress(PermissionError):
        os.chown(path, folder.st_uid, folder.st_gid, follow_symlinks=False)
