"""Memory for request bodies, bounded over all connections."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

SMALL_MAXIMUM = 64 * 2**10
"""Largest body, in bytes, that needs no reservation: heartbeats and small reports never wait."""


class Body(Protocol):
    """A body that is read. ``share`` is the address whose share of memory it uses, "" for none."""

    @property
    def share(self) -> str: ...


B = TypeVar("B", bound=Body)


class BodyMemory(Generic[B]):
    """Hands out ``maximum`` bytes for large bodies, first come, first served. Thread-safe.

    While another address waits, one address gets at most half of them, so slow senders of one
    address do not keep out the others.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._held: dict[B, int] = {}
        self._waiting: dict[B, int] = {}
        self._held_by: Counter[str] = Counter()
        self._waiting_by: Counter[str] = Counter()  # bodies, not bytes
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Return how many bytes are reserved now."""
        with self._lock:
            return self._held_by.total()

    def reserve(self, body: B, size: int) -> bool:
        """Reserve ``size`` bytes for a body, or queue it until they are free.

        Return whether the body has them now.
        """
        with self._lock:
            if body in self._held:
                return True
            if body not in self._waiting:
                self._waiting[body] = size
                self._waiting_by[body.share] += 1
            return body in set(self._grant())

    def release(self, body: B) -> list[B]:
        """Release the memory that a body has or waits for; return the bodies that get it now."""
        with self._lock:
            held = self._held.pop(body, None)
            if held is not None:
                _subtract(self._held_by, body.share, held)
            elif self._waiting.pop(body, None) is not None:
                _subtract(self._waiting_by, body.share, 1)
            else:
                return []
            return list(self._grant())

    def _grant(self) -> Iterator[B]:
        """Grant memory to waiting bodies in their order, and yield them. If no memory is in use, a
        body of any size fits."""
        used = self._held_by.total()
        for body, size in list(self._waiting.items()):
            if used and used + size > self._maximum:
                continue
            if self._exceeds_share(body.share, size):
                continue
            del self._waiting[body]
            _subtract(self._waiting_by, body.share, 1)
            self._held[body] = size
            self._held_by[body.share] += size
            used += size
            yield body

    def _exceeds_share(self, share: str, size: int) -> bool:
        mine = self._held_by[share]
        others_wait = len(self._waiting_by) > (share in self._waiting_by)
        return bool(share and mine and others_wait and mine + size > self._maximum // 2)


def _subtract(counter: Counter[str], share: str, number: int) -> None:
    counter[share] -= number
    if not counter[share]:
        del counter[share]
