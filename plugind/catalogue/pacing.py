"""Limits how often the changes of a list are announced to the queries that wait for it.

The first change is announced at once, further ones together after a pause. Otherwise a list that
changes without pause would make each watcher ask for the whole list again and again.
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
"""Calls a function once, after some seconds and never earlier, from any thread."""


@dataclass(slots=True)
class _List:
    """The index that was announced last, and when the next may be announced (monotonic clock)."""

    announced: int
    next: float


class Pacing:
    """Announces changes of lists to ``wake``. Safe for threads.

    ``later`` makes the announcements that are held back; without it nothing is held back.
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
        """Note a list's change; return whether to announce it now."""
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
        """Return whether a reader that has a list as of ``index`` may hear of a change since then.

        It may not if it has the last announced change already, while a further change is held back.
        """
        if resource not in self._held_back:
            return True
        return index < self._lists[resource].announced

    def close(self) -> None:
        """Announce every later change at once."""
        with self._lock:
            self._later = None

    def _release(self, resource: str, due: float) -> None:
        """Announce the change of a list that was held back until ``due``.

        If the call is late and the list has been announced in the meantime, do nothing: a change
        since then has a call of its own.
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
