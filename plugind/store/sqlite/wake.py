"""Wakes threads that wait for a store's next change, in this process and in others.

When a single process owns the store, waits only poll: the thread that commits a change also applies
it, and waking another thread would take the interpreter from the thread that answers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

LOOK_SECONDS = 0.1


class Wake(Protocol):
    """Wakes the waits of a store. Thread-safe, except ``publish``."""

    def publish(self, index: int) -> None:
        """Notify every process that a change was committed at an index."""

    def newest(self) -> int:
        """Return an index that is at least that of every acknowledged change."""

    def newest_at_once(self) -> int | None:
        """Return the same; None if that takes a look at the disk."""

    def interrupt(self) -> None:
        """Have waits return soon."""

    def wait(self, after: int, timeout: float, *, for_others: bool = False) -> bool:
        """Wait at most ``timeout`` seconds until the index is greater than ``after``. Return
        whether it is. With ``for_others``, an index that this process publishes ends no wait."""

    def trouble(self) -> str:
        """Return why other processes notice changes late, "" if they do not."""

    def close(self) -> None:
        """End all waits."""


class Alone:
    """The ``Wake`` of a store with a single process. ``index`` returns its last index."""

    def __init__(self, index: Callable[[], int]) -> None:
        self.newest = self.newest_at_once = index
        self._news = threading.Condition()
        self._closed = False
        self._interrupts = 0

    def publish(self, index: int) -> None:
        pass

    def interrupt(self) -> None:
        with self._news:
            self._interrupts += 1
            self._news.notify_all()

    def wait(self, after: int, timeout: float, *, for_others: bool = False) -> bool:
        deadline = time.monotonic() + timeout
        with self._news:
            interrupts = self._interrupts
            while not self._closed and (for_others or self.newest() <= after):
                left = deadline - time.monotonic()
                if left <= 0 or self._interrupts > interrupts:
                    return self.newest() > after
                self._news.wait(min(left, LOOK_SECONDS))
        return not self._closed

    def trouble(self) -> str:
        return ""

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify_all()
