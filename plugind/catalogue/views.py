"""Answers that are made from renderings: selected, indented, compressed. Each is made once.

A view belongs to the very object that it is made from. So it cannot have another index or show what
only another caller may see, and it is dropped when that object is replaced.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future
from typing import Protocol, TypeVar

OVERHEAD = 1_024
"""Approximate bytes that a view takes in addition to those of its answer."""


class Sized(Protocol):
    """A value that is kept: bytes, or an object whose ``len`` is its size in bytes."""

    def __len__(self) -> int: ...


V = TypeVar("V", bound=Sized)

_Key = tuple[str, int, Hashable]


class Views:
    """Keeps views, ``maximum`` bytes at most; the least recently used go first.

    Safe for threads. If several callers ask for the same view at the same time, one makes it.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._lock = threading.Lock()
        # Each with the object it is made from: while that is kept, no other has the same id().
        self._kept: OrderedDict[_Key, tuple[object, Future[Sized]]] = OrderedDict()
        self._of: dict[str, set[_Key]] = {}
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """Return how many bytes are kept."""
        return self._bytes

    def get(self, resource: str, base: object, view: Hashable, make: Callable[[], V]) -> V:
        """Return a view of ``base``, which is rendered from a resource.

        Make it with ``make`` unless it exists already. Raise what ``make`` raises.
        """
        key = (resource, id(base), view)
        with self._lock:
            _, future = self._kept.get(key, (None, None))
            if future is not None:
                self._kept.move_to_end(key)
            else:
                mine: Future[Sized] = Future()
                self._kept[key] = base, mine
                self._of.setdefault(resource, set()).add(key)
        if future is not None:
            return future.result()  # type: ignore[return-value]
        try:
            made = make()
        except BaseException as error:
            with self._lock:
                self._drop(key, mine)
            mine.set_exception(error)
            raise
        with self._lock:
            mine.set_result(made)
            if self._kept.get(key, (None, None))[1] is mine:
                self._bytes += _size(made)
                while self._bytes > self._maximum:  # evict the oldest finished ones
                    self._drop(next(key for key, (_, each) in self._kept.items() if each.done()))
        return made

    def drop(self, resources: Iterable[str]) -> None:
        """Drop the views of resources that changed."""
        with self._lock:
            for resource in resources:
                for key in list(self._of.get(resource, ())):
                    self._drop(key)

    def _drop(self, key: _Key, only: Future[Sized] | None = None) -> None:
        """Drop a view; if ``only`` is given, only that one and not a newer one."""
        _, future = self._kept.get(key, (None, None))
        if future is None or only not in (None, future):
            return
        del self._kept[key]
        if future.done() and future.exception() is None:
            self._bytes -= _size(future.result())
        keys = self._of[key[0]]
        keys.discard(key)
        if not keys:
            del self._of[key[0]]


def _size(made: Sized) -> int:
    return len(made) + OVERHEAD
