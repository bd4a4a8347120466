"""Blocking queries: callers that sleep until a resource changes.

Each waits for one resource only, so that no other's change wakes it.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from plugind.errors import ClientGone, TooManyParked

_LOOK_EVERY = 1.0  # seconds between two looks whether a parked client is still there


class Waiting:
    """Parks callers, at most ``maximum`` at a time, until ``wake`` names their resource."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._lock = threading.Lock()
        self._parked: dict[str, set[threading.Event]] = defaultdict(set)
        self._count = 0
        self._closed = False

    @property
    def count(self) -> int:
        """How many are parked now."""
        return self._count

    def wait(
        self,
        resource: str,
        is_due: Callable[[], bool],
        timeout: float,
        is_gone: Callable[[], bool],
    ) -> None:
        """Returns once ``is_due()``, or after ``timeout`` seconds, or when closed.

        Raises TooManyParked when no place is free, and ClientGone soon after ``is_gone()``.
        """
        deadline = time.monotonic() + timeout
        while (event := self._park(resource, is_due)) is not None:
            try:
                if not self._sleep(event, deadline, is_gone):
                    return
            finally:
                self._leave(resource, event)

    def _park(self, resource: str, is_due: Callable[[], bool]) -> threading.Event | None:
        """A place, unless there is nothing to wait for. What makes ``is_due`` true calls ``wake``
        afterwards, and the look at it here is under the same lock: no change falls between."""
        with self._lock:
            if self._closed or is_due():
                return None
            if self._count >= self._maximum:
                raise TooManyParked(
                    f"{self._maximum} blocking queries are parked already; "
                    "try again later, or without index"
                )
            event = threading.Event()
            self._parked[resource].add(event)
            self._count += 1
            return event

    @staticmethod
    def _sleep(event: threading.Event, deadline: float, is_gone: Callable[[], bool]) -> bool:
        """Whether it was woken before the deadline."""
        while (left := deadline - time.monotonic()) > 0:
            if event.wait(min(left, _LOOK_EVERY)):
                return True
            if is_gone():
                raise ClientGone("the client went away")
        return False

    def _leave(self, resource: str, event: threading.Event) -> None:
        with self._lock:
            self._count -= 1
            parked = self._parked.get(resource)
            if parked is not None:
                parked.discard(event)
                if not parked:
                    del self._parked[resource]

    def wake(self, resources: Iterable[str]) -> None:
        """Wakes those who wait for any of the resources."""
        with self._lock:
            for resource in resources:
                for event in self._parked.get(resource, ()):
                    event.set()

    def close(self) -> None:
        """Wakes everybody; from now on nobody waits."""
        with self._lock:
            self._closed = True
            for events in self._parked.values():
                for event in events:
                    event.set()
