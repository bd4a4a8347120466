"""Reads the revision of the last change once for all callers that ask at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from plugind.errors import StoreError


@dataclass
class _Read:
    """A read that several callers wait for."""

    done: threading.Event = field(default_factory=threading.Event)
    value: int = 0
    error: StoreError | None = None


class Heads:
    """``newest`` calls ``read``, which asks etcd, once for several callers. Thread-safe.

    A caller must not get the result of a read that began before its call. So there are at most two
    reads at a time: one in progress, and the next one, for which all later callers wait.
    """

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._next: _Read | None = None

    def newest(self) -> int:
        """Return the result of a ``read`` that began after this call did. Raise StoreError."""
        with self._lock:
            mine = self._next
            is_first = mine is None
            if mine is None:
                mine = self._next = _Read()
        if is_first:
            with self._reading:
                with self._lock:
                    self._next = None
                self._do(mine)
        else:
            mine.done.wait()
        if mine.error is not None:
            raise StoreError(str(mine.error))
        return mine.value

    def _do(self, mine: _Read) -> None:
        try:
            mine.value = self._read()
        except StoreError as error:
            mine.error = error
        except BaseException as error:
            mine.error = StoreError(f"the newest index could not be read: {error}")
            raise
        finally:
            mine.done.set()
