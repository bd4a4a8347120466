"""The file through which the processes that share a store know its newest index.

A writer puts the index into the file after each commit and before any client gets an answer. The
other processes have the file mapped, so that reading the index is only a memory access, and the
kernel reports each write to those that watch the file (inotify(7)). The store's own log cannot be
used for this, because it is written before the change can be seen.

A writer may be killed between the commit and the write, and the file may not be writable. So a
process that asks for the index looks into the store itself if its last look is LOOK_SECONDS old.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from plugind.store.sqlite.wake import LOOK_SECONDS

FILE_NAME = "index"

AGAIN_SECONDS = LOOK_SECONDS / 2
"""Seconds after which a waiting thread looks into the store again, so that ``newest_at_once``
hardly ever has to return None."""

_INDEX = struct.Struct("=Q")
_IN_MODIFY = 2
_libc = ctypes.CDLL(None, use_errno=True)


class Published:
    """The file of one store. ``look`` returns the last index that can be read from the store.

    It is made while this process holds the writers' lock: a file that is left from another store,
    or from before a crash, then gets the index of this store.
    """

    def __init__(self, data_dir: Path, look: Callable[[], int]) -> None:
        self._path = data_dir / FILE_NAME
        self._look = look
        self._news = threading.Lock()
        self._looking = threading.Lock()
        self._closed = False
        self._interrupts = 0
        self._idle: list[int] = []
        self._failure = ""
        self._own = 0  # the last index that this process wrote
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._seen = look()
            self._looked = time.monotonic()
            if os.pread(self._file, 32, 0) != _INDEX.pack(self._seen):
                # A write into the space of a sparse file could fail later, when a disk is full.
                os.ftruncate(self._file, _INDEX.size)
                os.pwrite(self._file, _INDEX.pack(self._seen), 0)
            mapped = mmap.mmap(self._file, _INDEX.size, prot=mmap.PROT_READ)
            self._mapped = memoryview(mapped).cast("Q")
        except BaseException:
            os.close(self._file)
            raise

    def publish(self, index: int) -> None:
        self._own = index
        # Not a store into the map, which on a full disk would kill the process.
        try:
            os.pwrite(self._file, _INDEX.pack(index), 0)
        except OSError as error:
            # The change is durable. After this pause, all others look into the store themselves.
            self._failure = f"{self._path}: {error.strerror}: each write takes 0.1 s longer"
            time.sleep(1.1 * LOOK_SECONDS)
        else:
            self._failure = ""

    def newest(self) -> int:
        self._look_unless_within(LOOK_SECONDS)
        return self._newest()

    def _look_unless_within(self, seconds: float) -> None:
        """Look into the store, unless the last look was less than ``seconds`` ago."""
        if time.monotonic() - self._looked < seconds:
            return
        with self._looking:
            now = time.monotonic()
            if now - self._looked >= seconds and not self._closed:
                self._seen = self._look()
                self._looked = now  # the time before the look

    def newest_at_once(self) -> int | None:
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            return None
        return self._newest()

    def _newest(self) -> int:
        """Return the greater of the index in the file and that of the store at the last look.

        The kernel may copy the 8 bytes in several steps: a number that is read twice in a row was
        not half written.
        """
        mapped = self._mapped
        found = mapped[0]
        while found != (found := mapped[0]):
            pass
        return found if found > self._seen else self._seen

    def interrupt(self) -> None:
        """Have waits return at their next look, within LOOK_SECONDS."""
        with self._news:
            self._interrupts += 1

    def wait(self, after: int, timeout: float, *, for_others: bool = False) -> bool:
        deadline = time.monotonic() + timeout
        interrupts = self._interrupts
        with self._watching() as watch:
            while not self._closed:
                known = max(after, self._own) if for_others else after
                self._look_unless_within(AGAIN_SECONDS)
                if self.newest() > known:
                    break
                left = deadline - time.monotonic()
                if left <= 0 or self._interrupts > interrupts:
                    return self.newest() > after
                until_look = self._looked + AGAIN_SECONDS - time.monotonic()
                _await(watch, max(0.0, min(left, until_look)))
            return not self._closed

    @contextmanager
    def _watching(self) -> Iterator[int]:
        """Give a descriptor that becomes readable when an index is written; -1 if there is none,
        because their number is limited: the next wait tries again. Descriptors are reused, because
        the kernel takes 10 ms to close one.
        """
        with self._news:
            watch = self._idle.pop() if self._idle else _watch(self._path)
        try:
            yield watch
        finally:
            with self._news:
                if self._closed:
                    _close(watch)
                elif watch >= 0:
                    self._idle.append(watch)

    def trouble(self) -> str:
        return self._failure

    def close(self) -> None:
        with self._news, self._looking:
            self._closed = True
            for watch in self._idle:
                _close(watch)
        os.close(self._file)  # the map is freed with its last user


def _await(watch: int, seconds: float) -> None:
    events = select.poll()  # select(2) takes no descriptor beyond 1,023
    if watch >= 0:
        events.register(watch, select.POLLIN)
    if events.poll(seconds * 1000):
        with suppress(OSError):
            os.read(watch, 4096)


def _close(watch: int) -> None:
    if watch >= 0:
        os.close(watch)


def _watch(path: Path) -> int:
    watch = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if watch >= 0 and _libc.inotify_add_watch(watch, os.fsencode(path), _IN_MODIFY) < 0:
        os.close(watch)
        return -1
    return watch
