"""Decides how far back the log reaches, by the age and the size of its changes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from plugind.model import Change
from plugind.model.times import SECOND
from plugind.store.coding import encode
from plugind.store.etcd.records import Record
from plugind.store.etcd.settings import EtcdSettings

_PARTS = 64
"""About how many parts the log is divided into; the oldest part is dropped as a whole."""


@dataclass(slots=True)
class _Part:
    """Consecutive changes, up to an index."""

    index: int
    oldest: int
    newest: int
    size: int


class Ledger:
    """Keeps the ages and sizes of the changes that this process has followed. Thread-safe."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._keep = round(settings.log_keep * SECOND)
        self._maximum = settings.log_max_size
        self._lock = threading.Lock()
        self._parts: deque[_Part] = deque()
        self._size = 0

    def follow(self, records: Sequence[Record]) -> None:
        """Note the changes that are in the log now."""
        with self._lock:
            for record in records:
                for each, size in zip(record.changes, record.sizes, strict=True):
                    self._add(each.index, each.change.time, size)

    def _add(self, index: int, time: int, size: int) -> None:
        self._size += size
        last = self._parts[-1] if self._parts else None
        if (
            last is not None
            and abs(time - last.oldest) < self._keep // _PARTS
            and last.size + size < self._maximum // _PARTS
        ):
            last.index, last.newest, last.size = index, max(last.newest, time), last.size + size
        else:
            self._parts.append(_Part(index, time, time, size))

    def floor(self, changes: Sequence[Change]) -> int:
        """Return the index that the log need not reach back beyond once changes are added to it; 0
        if its beginning can stay where it is."""
        oldest_kept = max(change.time for change in changes) - self._keep
        room = self._maximum - sum(len(encode(change)) for change in changes)
        index = 0
        with self._lock:
            while self._parts and (self._parts[0].newest < oldest_kept or self._size > room):
                part = self._parts.popleft()
                index, self._size = part.index, self._size - part.size
        return index
