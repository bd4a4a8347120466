"""The loop that watches all connections. Its cost depends on the number of active connections, not
of open ones.

At each turn, waitress' own loop asks every connection what it waits for. With a thousand open
connections that takes longer than answering a request. Here a connection reports when that may have
changed (``touch``), and epoll remembers the rest. Connections are closed only in the loop's thread,
so that no descriptor can pass to another connection between two steps of the loop.
"""

from __future__ import annotations

import select
from collections import deque
from contextlib import suppress
from typing import Any

from waitress import wasyncore

from plugind import logs

_log = logs.get("server")


class Loop:
    """Watches the dispatchers in ``map``, which is keyed by file descriptor.

    One thread runs the loop; any thread may call ``touch``.
    """

    def __init__(self, map: dict[int, Any]) -> None:
        self._map = map
        self._touched: deque[Any] = deque()
        self._epoll = select.epoll()
        self._wanted: dict[int, int] = {}

    def touch(self, dispatcher: Any) -> None:
        """Check again, at the next turn, what a dispatcher waits for."""
        self._touched.append(dispatcher)

    def watches(self, dispatcher: Any) -> bool:
        """Return whether the loop already watches for the events that a dispatcher waits for, so
        that it need not be woken."""
        return self._wanted.get(dispatcher._fileno) == _wanted(dispatcher)

    def turn(self, timeout: float) -> None:
        """Wait for events for at most ``timeout`` seconds, and handle them."""
        while self._touched:
            self._look(self._touched.popleft())
        events = self._epoll.poll(timeout)
        # Look up all dispatchers before any event is handled: handling one event may close another
        # connection, whose descriptor may then belong to a new one that its event is not about.
        found = [(self._map.get(descriptor), flags) for descriptor, flags in events]
        for dispatcher, flags in found:
            if dispatcher is not None and dispatcher._fileno is not None:
                wasyncore.readwrite(dispatcher, flags)
                self._look(dispatcher)

    def forget(self, descriptor: int) -> None:
        """Stop watching a descriptor; call this before it is closed.

        Closing it is not enough: epoll keeps a descriptor while a child process has a copy of it,
        as every child process does until it executes its program.
        """
        if self._wanted.pop(descriptor, None) is not None:
            with suppress(OSError, ValueError):  # the loop may have ended
                self._epoll.unregister(descriptor)

    def close(self) -> None:
        self._epoll.close()

    def _look(self, dispatcher: Any) -> None:
        descriptor = dispatcher._fileno
        if descriptor is None:
            return  # closed
        wanted = _wanted(dispatcher)
        known = self._wanted.get(descriptor)
        if known == wanted:
            return
        try:
            if known is None:
                self._epoll.register(descriptor, wanted)
            else:
                self._epoll.modify(descriptor, wanted)
        except OSError as error:
            _log.error("a connection cannot be watched", reason=str(error))
            dispatcher.handle_close()
        else:
            self._wanted[descriptor] = wanted


def _wanted(dispatcher: Any) -> int:
    """Return the events that a dispatcher waits for."""
    wanted = 0
    if dispatcher.readable():
        wanted |= select.EPOLLIN  # no EPOLLPRI: nothing reads urgent data, so the event would stay
    if dispatcher.writable() and not dispatcher.accepting:
        wanted |= select.EPOLLOUT
    return wanted
