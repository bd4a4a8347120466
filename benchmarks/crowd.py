"""Many clients that wait at once: one thread, with a connection for each client.

Reading an answer costs as little as Linux allows: only the length of a body is checked, and the
kernel drops its bytes (tcp(7), MSG_TRUNC).
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Callable

_ADDRESS = "127.0.0.1"
_AT_ONCE = 100
_LARGEST = 2**20
_HEAD = 2**16
_PATIENCE = 60.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/1\.1 200 ")


class Crowd:
    """Connections that all send the same request. ``close`` ends them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._epoll = select.epoll()
        self._socks: dict[int, socket.socket] = {}

    def __len__(self) -> int:
        return len(self._socks)

    def grow(self, count: int, request: bytes, await_waiting: Callable[[int], None]) -> None:
        """Open connections until there are ``count``, and send a request over each new one.

        After each batch ``await_waiting`` is called with the number of clients that should be
        waiting at the server by then, so that the server has time to accept them.
        """
        while len(self) < count:
            for _ in range(min(_AT_ONCE, count - len(self))):
                sock = socket.create_connection((_ADDRESS, self._port), _PATIENCE)
                sock.sendall(request)
                sock.setblocking(False)
                self._socks[sock.fileno()] = sock
                self._epoll.register(sock.fileno(), select.EPOLLIN)
            await_waiting(len(self))

    def send(self, request: bytes) -> None:
        """Send another request over each connection."""
        for sock in self._socks.values():
            sock.sendall(request)

    def answers(self) -> float:
        """Read a whole answer from each connection; return when the last one was complete, by the
        monotonic clock."""
        heads: dict[int, bytes] = dict.fromkeys(self._socks, b"")
        left: dict[int, int] = {}

        def take(number: int) -> bool:
            sock = self._socks[number]
            if number in left:
                left[number] -= _dropped(sock)
            else:
                heads[number] += _received(sock)
                head, found, body = heads[number].partition(b"\r\n\r\n")
                if not found:
                    return False
                left[number] = _length(head) - len(body)
            return left[number] <= 0

        return self._each(take)

    def lines(self, mark: bytes) -> float:
        """Read from each connection until ``mark`` arrives; return when the last connection had it,
        by the monotonic clock."""
        ends: dict[int, bytes] = dict.fromkeys(self._socks, b"")

        def take(number: int) -> bool:
            text = ends[number] + _received(self._socks[number])
            ends[number] = text[-len(mark) :]
            return mark in text

        return self._each(take)

    def _each(self, take: Callable[[int], bool]) -> float:
        """Call ``take`` with each connection that has data, until it returned true for all; return
        when that was, by the monotonic clock. Raise RuntimeError after 60 s."""
        open_ = set(self._socks)
        deadline = time.monotonic() + _PATIENCE
        while open_:
            for number, _ in self._epoll.poll(1.0, len(self._socks)):
                if number in open_ and take(number):
                    open_.discard(number)
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(open_)} of {len(self)} clients got no answer in time")
        return time.monotonic()

    def drain(self) -> None:
        """Drop all data that has arrived so far."""
        for number, _ in self._epoll.poll(0, max(len(self._socks), 1)):
            _dropped(self._socks[number])

    def close(self) -> None:
        for sock in self._socks.values():
            sock.close()
        self._epoll.close()


_buffer = bytearray(_LARGEST)


def _received(sock: socket.socket) -> bytes:
    data = sock.recv(_HEAD)
    if not data:
        raise RuntimeError("a connection was closed")
    return data


def _dropped(sock: socket.socket) -> int:
    count = sock.recv_into(_buffer, _LARGEST, socket.MSG_TRUNC)
    if not count:
        raise RuntimeError("a connection was closed")
    return count


def _length(head: bytes) -> int:
    found = _LENGTH.search(head)
    if not _STATUS.match(head) or not found:
        raise RuntimeError(f"a client was answered {head[:300]!r}")
    return int(found[1])
