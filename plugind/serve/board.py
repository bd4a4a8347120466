"""Memory that the processes of a server share. Each process has a place in it, where it publishes
its counters and its health.

Reading and writing need no answer from another process, so a process that hangs does not hold up
the others. What a process has published stays when it is killed, and its successor in the same
place continues from it.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
import zlib
from contextlib import suppress

import msgspec

from plugind import logs
from plugind.errors import PlugindError
from plugind.metrics.snapshot import Snapshot

PARENT = 0
"""The place of the parent process. Those of the workers are their numbers, from 1 on."""

_HALF = 4 * 2**20
"""Bytes of each of the two halves of a place; only what has been written takes up memory."""

_HEAD = struct.Struct("<QII")  # sequence number, length, checksum
_TRIES = 5

_log = logs.get("server")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Snapshot)


class Board:
    """Places for a parent and its workers, in the file with the descriptor ``handle``.

    Each place is written by one process at a time, alternately into two halves, each with a
    checksum: if the process is killed while it writes, the other half is intact. Thread-safe.
    """

    def __init__(self, handle: int, workers: int) -> None:
        self.handle = handle
        self.workers = workers
        self._lock = threading.Lock()
        self._seen: dict[int, Snapshot] = {}

    @classmethod
    def make(cls, workers: int) -> Board:
        """Create a board. Raise PlugindError if its memory cannot be created."""
        try:
            handle = os.memfd_create("plugind", os.MFD_CLOEXEC)
            os.ftruncate(handle, 2 * _HALF * (workers + 1))
        except OSError as error:
            text = f"the memory that worker processes share cannot be made: {error.strerror}"
            raise PlugindError(text) from error
        return cls(handle, workers)

    def close(self) -> None:
        """Release the memory."""
        os.close(self.handle)

    def put(self, place: int, snapshot: Snapshot) -> None:
        """Publish a snapshot; log an error if it is too large or cannot be written."""
        data = _encoder.encode(snapshot)
        try:
            if len(data) > _HALF - _HEAD.size:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            with self._lock:
                self._write(place, data)
        except OSError as error:
            text = "what this process counts cannot be published"
            _log.error(text, bytes=len(data), reason=error.strerror)

    def _write(self, place: int, data: bytes) -> None:
        number = max((found[0] for found in self._halves(place)), default=0) + 1
        text = _HEAD.pack(number, len(data), zlib.crc32(data)) + data
        at = (2 * place + number % 2) * _HALF
        while text:
            written = os.pwrite(self.handle, text, at)
            text, at = text[written:], at + written

    def get(self, place: int) -> Snapshot:
        """Return the last snapshot that was published in a place, or an empty one if none was."""
        for _ in range(_TRIES):  # both halves may have been written to meanwhile
            if halves := self._halves(place):
                with suppress(msgspec.DecodeError):
                    found = _decoder.decode(max(halves)[1])
                    self._seen[place] = found
                    return found
        return self._seen.get(place, Snapshot())

    def _halves(self, place: int) -> list[tuple[int, bytes]]:
        """Return the sequence number and the bytes of each intact half of a place."""
        whole = []
        for half in (0, 1):
            at = (2 * place + half) * _HALF
            number, length, checksum = _HEAD.unpack(os.pread(self.handle, _HEAD.size, at))
            if not number or length > _HALF - _HEAD.size:
                continue
            data = os.pread(self.handle, length, at + _HEAD.size)
            if zlib.crc32(data) == checksum:
                whole.append((number, data))
        return whole
