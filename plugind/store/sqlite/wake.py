"""Wakes what waits for a store's next change, in this process and in others.

After each commit its index is written to a small file beside the store, which the kernel reports to
the processes that watch it (inotify(7)). The store's own log is no use for this: it is written
before the change can be seen. A look every LOOK_SECONDS makes up for a report that is lost.

Where one process has the store alone, a look is all there is: who commits then applies the change
itself, and a thread woken besides would take the interpreter from the answer.
"""

from __future__ import annotations

import ctypes
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FILE_NAME = "index"
LOOK_SECONDS = 0.1

_IN_MODIFY = 2
_libc = ctypes.CDLL(None, use_errno=True)


class Wake:
    """``index`` returns the last index that can be read. With ``alone`` no other process writes to
    the store. Safe for threads."""

    def __init__(self, data_dir: Path, index: Callable[[], int], *, alone: bool) -> None:
        self._path = data_dir / FILE_NAME
        self._index = index
        self._alone = alone
        self._news = threading.Condition()
        self._closed = False
        self._interrupts = 0
        self._idle: list[int] = []
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def tell(self, index: int) -> None:
        """Report that a change was committed at an index."""
        # The change is durable whatever becomes of this; others then notice it by looking.
        with suppress(OSError):
            os.pwrite(self._file, b"%-20d\n" % index, 0)

    def interrupt(self) -> None:
        """Have waits return where no file is watched; the others look every LOOK_SECONDS."""
        with self._news:
            self._interrupts += 1
            self._news.notify_all()

    def wait(self, after: int, timeout: float) -> bool:
        """Wait, for at most ``timeout`` seconds, until the index is greater than ``after``. Return
        whether it is."""
        deadline = time.monotonic() + timeout
        if self._alone:
            with self._news:
                interrupts = self._interrupts
                while not self._closed and self._index() <= after:
                    left = deadline - time.monotonic()
                    if left <= 0 or self._interrupts > interrupts:
                        return False
                    self._news.wait(min(left, LOOK_SECONDS))
            return not self._closed
        with self._watching() as watch:
            while not self._closed and self._index() <= after:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                select.select([watch] if watch >= 0 else [], [], [], min(left, LOOK_SECONDS))
                with suppress(OSError):
                    os.read(watch, 4096)
            return not self._closed

    @contextmanager
    def _watching(self) -> Iterator[int]:
        """Give a descriptor that is readable once an index was written; -1 if there is none to be
        had, for their number is limited. It is used again, for the kernel takes 10 ms to end one.
        """
        with self._news:
            watch = self._idle.pop() if self._idle else _watch(self._path)
        try:
            yield watch
        finally:
            with self._news:
                if self._closed:
                    _close(watch)
                else:
                    self._idle.append(watch)

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify_all()
            for watch in self._idle:
                _close(watch)
        os.close(self._file)


def _close(watch: int) -> None:
    if watch >= 0:
        os.close(watch)


def _watch(path: Path) -> int:
    watch = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if watch >= 0 and _libc.inotify_add_watch(watch, os.fsencode(path), _IN_MODIFY) < 0:
        os.close(watch)
        return -1
    return watch
