"""Answers that wait to be sent: shared, not copied, and limited in total."""

from __future__ import annotations

import threading
from collections.abc import Callable

from waitress.buffers import ReadOnlyFileBasedBuffer

SHARED_MINIMUM = 16 * 2**10
"""Bytes from which on data is queued without a copy. Smaller parts are joined by waitress."""


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
        """Return by how many bytes the maximum is exceeded; 0 if it is not."""
        return max(0, self._bytes - self.maximum)

    def add(self, number: int) -> None:
        """Add ``number`` bytes to the count, or subtract them if it is negative."""
        with self._lock:
            self._bytes += number


class SharedOutput(ReadOnlyFileBasedBuffer):  # type: ignore[misc]
    """An answer in waitress' output queue, whose bytes may be shared with other queues.

    Waitress treats it as a file, which it appends unchanged. ``count`` is called with the number of
    bytes added to the queue, and with a negative number when bytes are sent or dropped.
    """

    def __init__(self, data: bytes | memoryview, count: Callable[[int], None]) -> None:
        self._data = memoryview(data)
        self._count = count
        self.remain = len(data)
        count(self.remain)

    def get(self, numbytes: int = -1, skip: bool = False) -> memoryview:
        """Return the next bytes, all if ``numbytes`` is negative; with ``skip`` they count as
        sent."""
        end = None if numbytes < 0 else numbytes
        found = self._data[:end]
        if skip:
            self.skip(len(found))
        return found

    def skip(self, numbytes: int, allow_prune: bool = False) -> None:
        """Count that number of bytes as sent."""
        self._data = self._data[numbytes:]
        self.remain -= numbytes
        self._count(-numbytes)

    def close(self) -> None:
        """Drop what was not sent. A second call does nothing."""
        left, self.remain = self.remain, 0
        self._data = self._data[:0]
        if left:
            self._count(-left)
