"""Calls functions after a delay, all in one thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from plugind import logs
from plugind.health.threads import OwnedThread

_log = logs.get("server")


class Timer:
    """Calls functions when their time has come, until ``close``. Thread-safe."""

    def __init__(self, name: str) -> None:
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()  # two calls for the same time are made in the order of ``later``
        self._in_hand: Callable[[], None] | None = None
        self._changed = threading.Condition()
        self._closed = False
        self.thread = OwnedThread(name, self._run, restarts=True)
        self.thread.start()

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call ``call`` once, after ``seconds``, from the timer's thread, unless the timer is
        closed by then. ``call`` must not block; an error that it raises is logged."""
        with self._changed:
            heappush(self._calls, (time.monotonic() + seconds, next(self._numbers), call))
            if self._calls[0][2] is call:
                self._changed.notify()

    def close(self) -> None:
        """End the thread; functions whose time has not come are no longer called."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self.thread.join()

    def _run(self) -> None:
        """Make the calls; a call that was in progress when the thread died is made again."""
        while (call := self._in_hand or self._next()) is not None:
            self._in_hand = call
            try:
                call()
            except Exception:  # the other calls still have to be made
                _log.error("a call at a set time failed", exc_info=True)
            self._in_hand = None

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next function whose time has come; return None once the timer is closed."""
        with self._changed:
            while not self._closed:
                wait = self._calls[0][0] - time.monotonic() if self._calls else None
                if wait is not None and wait <= 0:
                    return heappop(self._calls)[2]
                self._changed.wait(wait)
            return None
