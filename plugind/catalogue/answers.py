"""Whole answers that can be given again, for as long as their resource does not change.

The caller checks whether an answer is still valid; a change drops the answers about the resources
that it touches only to free memory. A look-up takes no lock, because each request makes one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

ENTRIES_MAXIMUM = 16_384
"""Maximum number of answers: clients choose the queries, and each takes more than its bytes."""

OVERHEAD = 6 * 2**10
"""Bytes that an answer takes in addition to its body: its key, and the form that a server sends."""

A = TypeVar("A")


class _Entry(Generic[A]):
    """An answer. ``is_used``: it was asked for since it was last considered for eviction."""

    __slots__ = ("answer", "is_used", "resource", "size")

    def __init__(self, answer: A, resource: str, size: int) -> None:
        self.answer = answer
        self.resource = resource
        self.size = size
        self.is_used = False


class Answers(Generic[A]):
    """Keeps answers by key, ``maximum`` bytes at most. Safe for threads.

    The oldest answer that was not asked for lately is evicted first.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, _Entry[A]] = OrderedDict()
        self._of: dict[str, set[Hashable]] = {}
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """Return how many bytes are kept."""
        return self._bytes

    def get(self, key: Hashable) -> A | None:
        """Return the answer that is kept under a key, or None."""
        entry = self._kept.get(key)
        if entry is None:
            return None
        entry.is_used = True
        return entry.answer

    def put(self, key: Hashable, answer: A, resource: str, size: int) -> None:
        """Keep an answer about a resource, with a body of ``size`` bytes; evict others if there are
        too many bytes or answers. An answer that is too large by itself is not kept."""
        entry = _Entry(answer, resource, size + OVERHEAD)
        if entry.size > self._maximum:
            return
        with self._lock:
            self._drop(key)
            self._kept[key] = entry
            self._of.setdefault(resource, set()).add(key)
            self._bytes += entry.size
            while self._bytes > self._maximum or len(self._kept) > ENTRIES_MAXIMUM:
                oldest, other = next(iter(self._kept.items()))
                if other.is_used:
                    other.is_used = False
                    self._kept.move_to_end(oldest)
                else:
                    self._drop(oldest)

    def drop(self, resources: Iterable[str]) -> None:
        """Drop the answers about resources that changed."""
        with self._lock:
            for resource in resources:
                for key in list(self._of.get(resource, ())):
                    self._drop(key)

    def clear(self) -> None:
        """Drop all answers."""
        with self._lock:
            self._kept.clear()
            self._of.clear()
            self._bytes = 0

    def _drop(self, key: Hashable) -> None:
        entry = self._kept.pop(key, None)
        if entry is None:
            return
        self._bytes -= entry.size
        keys = self._of[entry.resource]
        keys.discard(key)
        if not keys:
            del self._of[entry.resource]
