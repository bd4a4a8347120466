"""Answers that wait to be sent: shared, not copied, and bounded in all."""

from __future__ import annotations

import threading
from collections.abc import Callable

from waitress.buffers import ReadOnlyFileBasedBuffer

SHARED_MINIMUM = 16 * 2**10
"""Bytes from which on an answer is queued without a copy. Below, waitress joins what it sends."""


class Queued:
    """Counts the bytes of large answers that clients have not taken yet, over all connections."""

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        return self._bytes

    @property
    def excess(self) -> int:
        """Return by how many bytes there are too many; 0 when there are not."""
        return max(0, self._bytes - self.maximum)

    def add(self, number: int) -> None:
        """Count that many bytes more, or fewer when ``number`` is negative."""
        with self._lock:
            self._bytes += number


class SharedOutput(ReadOnlyFileBasedBuffer):  # type: ignore[misc]
    """An answer in waitress' queue of output that refers to bytes which other queues may share.

    Waitress takes it for a file, which it appends as it is. ``count`` is called with the bytes that
    were added to the queue, and with a negative number when they are sent or given up.
    """

    def __init__(self, data: bytes | memoryview, count: Callable[[int], None]) -> None:
        self._data = memoryview(data)
        self._count = count
        self.remain = len(data)
        count(self.remain)

    def get(self, numbytes: int = -1, skip: bool = False) -> memoryview:
        """Return the next bytes, all for a negative number; with ``skip`` they count as sent."""
        end = None if numbytes < 0 else numbytes
        found = self._data[:end]
        if skip:
            self.skip(len(found))
        return found

    def skip(self, numbytes: int, allow_prune: bool = False) -> None:
        """Take that many bytes as sent."""
        self._data = self._data[numbytes:]
        self.remain -= numbytes
        self._count(-numbytes)

    def close(self) -> None:
        """Give up what was not sent; again does nothing."""
        left, self.remain = self.remain, 0
        self._data = self._data[:0]
        if left:
            self._count(-left)
