"""The duty of a store that several processes have open: a lock that one of them holds.

It is an fcntl(2) lock, which ends with the process that took it. A flock(2) lock would live on in a
forked child. Whenever its holder is asked for the duty, it writes the time into the file, so that
the others notice when the holder has stopped.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = "duty.lock"

SILENT = 15.0
"""Seconds without being asked for the duty after which its holder counts as stopped."""

_HOLDER = struct.Struct("=qq")  # process ID, nanoseconds of the monotonic clock


@dataclass
class _Opened:
    """A lock file that this process has open, once for all of its stores: closing any descriptor of
    the file would drop the lock, and the kernel does not distinguish stores of one process."""

    file: int
    users: int = 0
    holder: Duty | None = None


_opened: dict[tuple[int, Path], _Opened] = {}
"""By path and by process ID, because a forked process has none of the locks."""

_lock = threading.Lock()


class Duty:
    """The lock, free until ``take`` gets it."""

    def __init__(self, data_dir: Path) -> None:
        path = data_dir.absolute() / FILE_NAME
        self._key = os.getpid(), path
        with _lock:
            if self._key not in _opened:
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                _opened[self._key] = _Opened(file)
            self._opened = _opened[self._key]
            self._opened.users += 1

    def take(self) -> bool:
        """Take the lock if it is free. Return whether this object holds it."""
        with _lock:
            if self._opened.holder is None:
                try:
                    fcntl.lockf(self._opened.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except (BlockingIOError, PermissionError):  # fcntl(2) allows either
                    return False
                self._opened.holder = self
            if self._opened.holder is not self:
                return False
            with suppress(OSError):  # the lock is held even if the disk is full
                holder = _HOLDER.pack(os.getpid(), time.monotonic_ns())
                os.pwrite(self._opened.file, holder, 0)
            return True

    def trouble(self) -> str:
        """Return which other process has the duty and seems to be stopped, "" if none."""
        with _lock:
            if self._opened.holder is not None or not self._is_held():
                return ""
            try:
                pid, at = _HOLDER.unpack(os.pread(self._opened.file, _HOLDER.size, 0))
            except (OSError, struct.error):
                return ""
        idle = (time.monotonic_ns() - at) / 1e9
        if idle < SILENT:
            return ""
        return (
            f"process {pid} marks nodes as down for all processes of the server, and has not "
            f"looked for {idle:.0f} s: if it is stopped, let it go on or end it"
        )

    def _is_held(self) -> bool:
        try:
            fcntl.lockf(self._opened.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return True
        fcntl.lockf(self._opened.file, fcntl.LOCK_UN)
        return False

    def close(self) -> None:
        """Free the lock."""
        with _lock:
            opened = self._opened
            if opened.holder is self:
                opened.holder = None
                fcntl.lockf(opened.file, fcntl.LOCK_UN)
            opened.users -= 1
            if not opened.users:
                del _opened[self._key]
                os.close(opened.file)
