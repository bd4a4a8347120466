"""The duty of a store that several processes have open: a lock that one of them holds.

It is a lock of fcntl(2), which ends with the process that took it. One of flock(2) would stay with
a child that the process had forked.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

FILE_NAME = "duty.lock"

_held: set[Path] = set()
"""The files whose lock this process holds: the kernel does not tell stores of one process apart."""

_lock = threading.Lock()


class Duty:
    """The lock, free until ``take`` gets it. The file is opened once: closing any descriptor of it
    would drop the lock."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir.absolute() / FILE_NAME
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o600)
        self._is_held = False

    def take(self) -> bool:
        """Take the lock if it is free. Return whether this process holds it."""
        with _lock:
            if self._is_held:
                return True
            if self._path in _held:
                return False
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # fcntl(2) allows either
                return False
            _held.add(self._path)
            self._is_held = True
            return True

    def close(self) -> None:
        """Free the lock."""
        with _lock:
            if self._is_held:
                _held.discard(self._path)
            os.close(self._file)
