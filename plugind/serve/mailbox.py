"""Passes calls from any thread to the asyncio event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

_AT_ONCE = 200
"""Calls that are made before the loop checks its connections again."""

_WAIT, _WAIT_MAXIMUM = 0.001, 0.05  # seconds


class Mailbox:
    """Queues calls for the thread of one event loop, which ``attach`` sets.

    The loop is woken once for many calls: each wake-up is a write to a socket, during which the
    thread may lose the interpreter and then keep all others waiting.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: deque[Callable[[], object]] = deque()
        self._is_pulled = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop."""
        assert self._loop is not None, "the loop is known before the first request"
        return self._loop

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the loop in whose thread calls are made."""
        self._loop = loop

    def post(self, call: Callable[[], object]) -> None:
        """Have ``call`` called in the loop's thread, unless the loop has ended. Thread-safe.

        ``call`` must not raise.
        """
        self._calls.append(call)
        if not self._is_pulled:
            self._is_pulled = True
            with suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._deliver)

    def let_catch_up(self) -> None:
        """Wait for a moment if the loop is behind, so that the next call posted is not late."""
        end = time.monotonic() + _WAIT_MAXIMUM
        while len(self._calls) > _AT_ONCE and time.monotonic() < end:
            time.sleep(_WAIT)

    def _deliver(self) -> None:
        self._is_pulled = False  # reset before the calls are taken, so that a later one wakes again
        for _ in range(min(len(self._calls), _AT_ONCE)):
            self._calls.popleft()()
        if self._calls and not self._is_pulled:
            self._is_pulled = True
            self.loop.call_soon(self._deliver)  # after what has arrived on connections meanwhile


class Signal:
    """What a request waits for. ``set`` may be called from any thread, and so may the callback of
    ``when_set``."""

    __slots__ = ("_calls", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._calls: list[Callable[[], object]] = []

    def set(self) -> None:
        """End the wait."""
        self._is_set = True
        self._call()

    def when_set(self, call: Callable[[], object]) -> None:
        """Have ``call`` called once, now if the signal is set already. It must not block."""
        self._calls.append(call)
        if self._is_set:
            self._call()

    def _call(self) -> None:
        with suppress(IndexError):  # pop is atomic, so only one of two threads makes the call
            self._calls.pop()()
