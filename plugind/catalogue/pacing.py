"""Paces how often the changes of a list are announced to those who wait for it.

The first change is announced at once, further ones after a pause, all together. Without that a list
that changes without pause would have each watcher ask for all of it again and again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

PAUSE = 0.1
"""Seconds between two announcements of changes of the same list."""

Later = Callable[[float, Callable[[], None]], object]
"""Has a function called after some seconds, once, from any thread; never before."""


@dataclass(slots=True)
class _List:
    """The index that was announced last, and when the next may be (monotonic clock)."""

    announced: int
    next: float


class Pacing:
    """Announces changes of lists to ``wake``. Safe for threads.

    ``later`` has the announcements made that are held back; without it nothing is held back.
    """

    def __init__(
        self,
        wake: Callable[[Iterable[str]], None],
        later: Later | None,
        pause: float = PAUSE,
    ) -> None:
        self._wake = wake
        self._later = later
        self._pause = pause
        self._lists: dict[str, _List] = {}
        self._held_back: dict[str, int] = {}
        self._lock = threading.Lock()

    def announces(self, resource: str, index: int) -> bool:
        """Note a list's change; return whether it is to be announced now."""
        now = time.monotonic()
        with self._lock:
            known = self._lists.setdefault(resource, _List(index, 0.0))
            later = self._later
            if later is None or now >= known.next:
                self._announce(resource, index, now)
                return True
            is_first = resource not in self._held_back
            self._held_back[resource] = index
            due = known.next
        if is_first:
            later(due - now, partial(self._release, resource, due))
        return False

    def may_hear(self, resource: str, index: int) -> bool:
        """Return whether a reader who knows a list as of ``index`` may hear of a change since then.

        It may not while it knows what was announced last, and a further change is held back.
        """
        if resource not in self._held_back:
            return True
        return index < self._lists[resource].announced

    def close(self) -> None:
        """Have every later change announced at once."""
        with self._lock:
            self._later = None

    def _release(self, resource: str, due: float) -> None:
        """Announce the change of a list that was held back until ``due``.

        Where the list was announced before a late call ran, the call does nothing: a change since
        then has a call of its own.
        """
        with self._lock:
            index = self._held_back.get(resource)
            if index is None or due < self._lists[resource].next:
                return
            self._announce(resource, index, time.monotonic())
        self._wake([resource])

    def _announce(self, resource: str, index: int, now: float) -> None:
        known = self._lists[resource]
        known.announced = index
        known.next = now + self._pause
        self._held_back.pop(resource, None)
