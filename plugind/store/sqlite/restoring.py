"""Replaces the embedded store's file with a backup, while no server runs.

Clients continue from the indexes that they have, so the restored store begins above all of them,
and every resource reads as changed. If this is killed at any point, either the old file or the new
one has the name, and is complete.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from plugind.errors import StoreError
from plugind.model import Stamp
from plugind.store.base import Restored
from plugind.store.files import sync
from plugind.store.sqlite.file import (
    FILE_NAME,
    migrate,
    opened,
    translated,
)
from plugind.store.sqlite.maintenance import NoRoom, snapshot
from plugind.store.sqlite.numbering import Replaced, renumber
from plugind.store.sqlite.rows import STAMPS, head
from plugind.store.sqlite.sharing import LOCK_NAME, Membership
from plugind.store.sqlite.sound import examined

# SQLite takes these for the logs of the file next to them. It makes the index of a log again.
_LOGS = ("-wal", "-journal")
_INDEX = "-shm"


def restore(source: Path, data_dir: Path, lists: Collection[str]) -> Restored:
    """Put the backup ``source`` in force. ``lists`` are the resources that clients may wait for
    even when they are empty. Raise StoreError; then nothing has changed."""
    if not source.is_file():
        raise StoreError(f"{source} is not there")
    with replacing(data_dir) as new, snapshot(source, new, wanted=data_dir / FILE_NAME) as db:
        migrate(db, source)
        examined(db)
        return put_in_force(db, new, data_dir, lists, is_own=True)


@contextmanager
def replacing(data_dir: Path) -> Iterator[Path]:
    """Keep servers out of a folder, and give the path of a new file in it, which is to be filled
    for ``put_in_force``. The file is deleted after the block unless it was put in force.

    An earlier file of that name was left by a process that was killed, and is removed.
    """
    target = data_dir / FILE_NAME
    new = target.with_name(f"{FILE_NAME}.restoring")
    with _locked(data_dir), translated(target):
        _remove(new)
        try:
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            yield new
        finally:
            _remove(new)


def put_in_force(
    db: sqlite3.Connection, new: Path, data_dir: Path, lists: Collection[str], *, is_own: bool
) -> Restored:
    """Replace the store's file with the sound file ``new``, whose indexes continue above those of
    the old one. ``db`` is the only connection to the new file. ``is_own``: it has a past state of
    the same store."""
    target = data_dir / FILE_NAME
    with translated(target):
        with _old(target, new.with_name(f"{FILE_NAME}.compared")) as replaced:
            is_sound = replaced.stamps is not None
            renumber(db, replace(replaced, identity=None) if is_own else replaced, lists)
        found = examined(db)
        db.close()
        _give_to_owner(new)
        sync(new)
        kept = _set_aside(target, is_sound=is_sound)
        new.replace(target)
        sync(data_dir)
    return Restored(found, kept)


@contextmanager
def _old(path: Path, copy: Path) -> Iterator[Replaced]:
    """Read the file that is replaced, from a copy, which may have to be migrated."""
    _remove(copy)
    try:
        os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with ExitStack() as until_end:
            yield _replaced(path, copy, until_end)
    finally:
        _remove(copy)


def _replaced(path: Path, copy: Path, until_end: ExitStack) -> Replaced:
    try:
        with ExitStack() as stack:
            db = stack.enter_context(snapshot(path, copy, wanted=path, mode="ro"))
            migrate(db, path)
            found = examined(db)
            until_end.push(stack.pop_all())
            return Replaced(found.index, _stamps(db), head(db)[0])
    except NoRoom:
        raise
    except StoreError:
        pass  # it is damaged, of a newer plugind, or missing
    with suppress(StoreError), opened(path, "ro") as db:
        identity, index = head(db)
        return Replaced(index, identity=identity)
    return Replaced()


def _stamps(db: sqlite3.Connection) -> Iterator[tuple[str, Stamp]]:
    return ((name, Stamp(*rest)) for name, *rest in STAMPS.rows(db))


def _set_aside(target: Path, *, is_sound: bool) -> Path | None:
    """Give the current file a second name, and remove its log, which would be taken for the log of
    the new file. A sound file's log is checkpointed first; otherwise the log is kept next to the
    second name. Return that name, None if there was no file."""
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
    with closing(Membership(data_dir)):
        _give_to_owner(data_dir / LOCK_NAME)
        yield


def _remove(path: Path) -> None:
    for part in ("", *_LOGS, _INDEX):
        Path(f"{path}{part}").unlink(missing_ok=True)


def _give_to_owner(path: Path) -> None:
    """Give a file to the owner of its folder: the server's user, who must be able to open it."""
    folder = path.parent.stat()
    with suppress(PermissionError):
        os.chown(path, folder.st_uid, folder.st_gid, follow_symlinks=False)
