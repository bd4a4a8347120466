"""The lock with which the processes that share a store take turns to write.

SQLite itself waits for other writers in short sleeps, and the process that sleeps least wins. With
a blocking flock(2), the kernel wakes a process that waits. flock(2) takes no timeout, so if the
lock is not free, a separate thread waits for it. That thread goes on waiting when its caller has
given up, and so keeps the place in the queue for the next try.
"""

from __future__ import annotations

import _thread
import fcntl
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from plugind.errors import StoreError

LONG_HELD = 5.0
"""Seconds after which health shows which process holds the lock."""

_HOLDER = struct.Struct("=qq")  # process ID, nanoseconds of the monotonic clock


class _Waiter:
    """A wait for the lock, in a thread of its own, until the thread gets it. ``is_wanted`` says
    whether the caller still waits."""

    def __init__(self) -> None:
        self.got = threading.Semaphore(0)
        self.is_wanted = True
        self.error: OSError | None = None


class Turn:
    """The lock, for one store object. Its methods, except ``trouble``, are called from one thread
    at a time. ``patience`` is how many seconds a writer waits for the lock."""

    def __init__(self, path: Path, patience: float) -> None:
        self._path = path
        self._patience = patience
        self._state = threading.Lock()
        self._waiter: _Waiter | None = None
        self._closed = False
        self._file = _opened(path)

    @contextmanager
    def held(self, patience: float | None = None) -> Iterator[None]:
        """Hold the lock for the block. Raise StoreError if it does not become free in time."""
        self._take(self._patience if patience is None else patience)
        try:
            # The lock is held even if the disk is too full to write its holder.
            with suppress(OSError):
                os.pwrite(self._file, _HOLDER.pack(os.getpid(), time.monotonic_ns()), 0)
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _take(self, patience: float) -> None:
        with self._state:
            if (waiter := self._waiter) is None:
                try:
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    waiter = self._waiter = self._waiting()
                else:
                    return
            waiter.is_wanted = True
        waiter.got.acquire(timeout=patience)
        with self._state:
            if self._waiter is waiter:
                waiter.is_wanted = False
                raise StoreError(
                    f"the store waited {patience:g} s to write, for {self._holder()}: if that "
                    "process is stopped, let it go on or end it"
                )
        if waiter.error:
            raise waiter.error

    def _waiting(self) -> _Waiter:
        """Start a wait for the lock and return it. Raise StoreError."""
        waiter = _Waiter()
        try:
            _thread.start_new_thread(self._wait, (waiter,))
        except RuntimeError as error:
            raise StoreError(
                "the store cannot wait for its turn to write, since the process may have no more "
                "threads: raise its limit (ulimit -u, or TasksMax of systemd), or the memory"
            ) from error
        return waiter

    def _wait(self, waiter: _Waiter) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError as error:
            waiter.error = error
        with self._state:
            self._waiter = None
            if self._closed:
                os.close(self._file)
            elif not waiter.is_wanted:
                fcntl.flock(self._file, fcntl.LOCK_UN)
            else:
                waiter.got.release()

    def trouble(self) -> str:
        """Return which other process has held the lock for longer than LONG_HELD, "" if none."""
        pid, since = self._read()
        for_ns = time.monotonic_ns() - since
        if pid in (0, os.getpid()) or for_ns < LONG_HELD * 1e9 or not self._is_held():
            return ""
        return (
            f"{self._holder()} has held the store's lock for writers for {for_ns / 1e9:.0f} s: "
            "no other process can write"
        )

    def _holder(self) -> str:
        pid, _ = self._read()
        return f"process {pid}" if pid else "another process"

    def _read(self) -> tuple[int, int]:
        with suppress(OSError, struct.error):
            pid, since = _HOLDER.unpack(os.pread(self._file, _HOLDER.size, 0))
            return pid, since
        return 0, 0

    def _is_held(self) -> bool:
        """Return whether any process holds the lock, without waiting for it."""
        probe = _opened(self._path)
        try:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(probe)
        return False

    def close(self) -> None:
        with self._state:
            self._closed = True
            if self._waiter is None:  # else the waiting thread still uses the file
                os.close(self._file)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
