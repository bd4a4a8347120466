"""Keeps processes out of a data_dir unless they belong to the server that runs on it.

A single process holds the lock exclusively. Processes that share a store hold it together; the lock
file says what they must agree on: the schema, the store's settings, and the server to which they
belong. The first of them holds the lock exclusively until it has created or migrated the store.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from plugind.errors import StoreError
from plugind.store.sqlite.file import FILE_NAME, MIGRATIONS

LOCK_NAME = f"{FILE_NAME}.lock"


class Membership:
    """The lock on a folder, held until ``close``. ``is_first`` says whether no other process held
    it before."""

    def __init__(self, data_dir: Path, settings: object = None, *, shared: bool = False) -> None:
        self._data_dir = data_dir
        self._file = _opened(data_dir)
        self._card = {
            "schema": len(MIGRATIONS),
            "settings": _digest(settings),
            "of": _family(),
            "group": os.getpgrp(),
        }
        try:
            self.is_first = self._take(fcntl.LOCK_EX)
            if self.is_first:
                if shared:
                    self._write(self._card)
            elif not (shared and self._take(fcntl.LOCK_SH)):
                raise self._refusal()
            else:
                self._compare()
        except BaseException:
            os.close(self._file)
            raise

    def admit(self) -> None:
        """Admit the other processes of the same server, once the store is as they expect it. Raise
        StoreError."""
        # The kernel frees the lock for a moment, in which a server that does not share may take it.
        if self.is_first and not self._take(fcntl.LOCK_SH):
            raise self._refusal()

    def _take(self, kind: int) -> bool:
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise StoreError(f"data_dir {self._data_dir}: {error.strerror}") from error
        return True

    def _refusal(self) -> StoreError:
        return StoreError(
            f"another plugind server is running on data_dir {self._data_dir}: stop it first"
        )

    def _compare(self) -> None:
        try:
            theirs = json.loads(os.pread(self._file, 4096, 0))
            schema, settings = theirs["schema"], theirs["settings"]
            family, group = set(theirs["of"]), theirs["group"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._refusal() from error
        if group != self._card["group"] or not family & set(_family()):
            raise self._refusal()
        if schema != self._card["schema"]:
            raise StoreError(
                f"data_dir {self._data_dir} is in use by processes of another plugind version (its "
                f"schema is {schema}, that of this one {len(MIGRATIONS)}): stop all of them, then "
                "start this one"
            )
        if settings != self._card["settings"]:
            raise StoreError(
                f"data_dir {self._data_dir} is in use by processes with other settings in "
                'store "sqlite": restart the whole server'
            )

    def _write(self, card: Mapping[str, Any]) -> None:
        text = json.dumps(card).encode()
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text, 0)
        except OSError as error:
            raise StoreError(f"{self._data_dir / LOCK_NAME}: {error.strerror}") from error

    def close(self) -> None:
        os.close(self._file)


def make_folder(data_dir: Path) -> None:
    """Create a data_dir if there is none. Raise StoreError."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"data_dir {data_dir}: {error.strerror}") from error


def _opened(data_dir: Path) -> int:
    make_folder(data_dir)
    try:
        return os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"data_dir {data_dir}: {error.strerror}") from error


def _digest(settings: object) -> str:
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]


def _family() -> list[str]:
    """Return this process and its parent: the processes of one server have the same parent, or are
    children of one of them.

    PID 1 is the parent of all systemd services and of all orphans, and 0 stands for any parent
    outside a container. PID 1 counts only if it is the server's own parent process in a container:
    then its children are in its process group, which is 1, or 0 if the group began outside.
    """
    pids, parent = [os.getpid()], os.getppid()
    if parent > 1 or (parent == 1 and os.getpgrp() <= 1):
        pids.append(parent)
    return [f"{pid}/{_start(pid)}" for pid in pids]


def _start(pid: int) -> str:
    """Return when a process started, in ticks since the boot, because its ID may be reused. Return
    "" if that is not known."""
    with suppress(OSError, IndexError):
        # proc(5): the name in parentheses may hold anything, the 22nd field is the start.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""
