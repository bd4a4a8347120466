"""Notifies packages of changes of the catalogue, by the hook ``plugind_changed``.

The writer only hands changes over. A thread of this module logs what became of instances and passes
it on. Each package that listens is called by a thread of its own, from a bounded queue: a package
that is slow, hangs or fails delays no other, and the changes that it missed are counted and
reported.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from plugind import logs
from plugind.feed.instance_changes import instance_changes
from plugind.health.health_log import log_health
from plugind.health.threads import OwnedThread
from plugind.model import CatalogueChange, Committed
from plugind.state import State

QUEUE_MAXIMUM = 1_000
"""Changes that may wait for a package; beyond that the oldest are dropped."""

GATHER = 0.01
"""Seconds that a change waits before it is logged, if none waits behind it. By then the client has
its answer, which would otherwise wait for the interpreter."""

GATHERED_MAXIMUM = 100
"""Changes that are logged together, with few system calls."""

CLOSE_TIMEOUT = 2.0
"""Seconds that all packages together are given at the end for the changes that still wait."""

SLOW = 10.0
"""Seconds after which health reports that a call into a package has not returned."""

Receiver = Callable[..., object]
"""Called with the keyword argument ``change``."""

_log = logs.get("announcing")
_health = logs.get("health")


class Announcer:
    """Logs each change of health, and notifies ``receivers``, which are by the package's name."""

    def __init__(self, receivers: Mapping[str, Receiver]) -> None:
        self._listeners = [Listener(name, each) for name, each in sorted(receivers.items())]
        self._queue: queue.SimpleQueue[CatalogueChange | None] = queue.SimpleQueue()
        self._in_hand: deque[CatalogueChange] = deque()
        self._thread = OwnedThread("hooks", self._run, restarts=True, died=self._died)
        self._thread.start()

    @property
    def threads(self) -> list[OwnedThread]:
        """Return the threads that hand changes over and that call packages."""
        return [self._thread, *(listener.thread for listener in self._listeners)]

    @property
    def troubles(self) -> list[str]:
        """Return what packages missed or failed on, one line for each package."""
        return [listener.trouble for listener in self._listeners if listener.trouble]

    def follow(self, old: State, new: State, batch: Sequence[Committed]) -> None:
        """Pass on what became of instances; return at once."""
        for committed in batch:
            if instances := tuple(instance_changes(committed.change, old, new)):
                time = committed.change.time
                self._queue.put(CatalogueChange(committed.index, time, instances))

    def missed(self, old: State, new: State) -> None:
        """Count a missed change for each package, which is informed of it later."""
        for listener in self._listeners:
            listener.miss()

    def close(self) -> None:
        """End all threads. Changes that wait are delivered within CLOSE_TIMEOUT, or dropped."""
        deadline = time.monotonic() + CLOSE_TIMEOUT
        self._queue.put(None)
        self._thread.join(CLOSE_TIMEOUT)
        for listener in self._listeners:
            listener.release()
        for listener in self._listeners:
            listener.close(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while self._gather():
            with logs.together():
                for change in self._in_hand:
                    log_health(_health, change.instances)
            while self._in_hand:
                for listener in self._listeners:
                    listener.put(self._in_hand[0])
                self._in_hand.popleft()

    def _gather(self) -> bool:
        """Take the changes that wait, once there is one; return False at the end."""
        found = self._queue.get()
        if found is not None and self._queue.empty():
            time.sleep(GATHER)
        while found is not None:
            self._in_hand.append(found)
            if len(self._in_hand) == GATHERED_MAXIMUM or self._queue.empty():
                return True
            found = self._queue.get()
        if self._in_hand:
            self._queue.put(None)
        return bool(self._in_hand)

    def _died(self, error: BaseException) -> None:
        """Count as missed, for each package, the changes that were in hand, or one that was just
        being taken."""
        missed = max(1, len(self._in_hand))
        self._in_hand.clear()
        for listener in self._listeners:
            for _ in range(missed):
                listener.miss(died(error))


class Listener:
    """One package: the changes that wait for it, and the thread that calls it."""

    def __init__(self, name: str, receive: Receiver) -> None:
        self._name = name
        self._receive = receive
        self._waiting: deque[CatalogueChange] = deque()
        self._missed = 0  # since it was last called
        self._missed_ever = 0
        self._why_missed = ""
        self._failed_ever = 0
        self._failure = ""
        self._logged = ""
        self._closing = False
        self._called_at: float | None = None
        self._news = threading.Condition()
        self.thread = OwnedThread(f"hooks of {name}", self._run, restarts=True, died=self._died)
        self.thread.start()

    @property
    def trouble(self) -> str:
        """Return how many changes it missed and failed on, and why the last; "" when none."""
        parts = []
        since = self._called_at
        if since is not None and (lasts := time.monotonic() - since) > SLOW:
            parts.append(f"has been called for {lasts:.0f} s and has not returned")
        if self._missed_ever:
            parts.append(f"missed {self._missed_ever:,} changes, for {self._why_missed}")
        if self._failed_ever:
            parts.append(f"failed on {self._failed_ever:,} changes, last with {self._failure}")
        return f"{self._name} {' and '.join(parts)}" if parts else ""

    def put(self, change: CatalogueChange) -> None:
        """Add a change without waiting. When the queue is full, the oldest is dropped."""
        with self._news:
            if len(self._waiting) == QUEUE_MAXIMUM:
                self._waiting.popleft()
                self._count_missed("it is too slow")
                if self._missed == 1:
                    _log.warning("a package is too slow and misses changes", package=self._name)
            self._waiting.append(change)
            self._news.notify()

    def miss(self, why: str = "they are not known any more") -> None:
        """Count a change that the package does not get."""
        with self._news:
            self._count_missed(why)

    def release(self) -> None:
        """End the thread once the waiting changes are delivered; return at once."""
        with self._news:
            self._closing = True
            self._news.notify()

    def close(self, timeout: float) -> None:
        """Wait for the thread to end, and log how many changes were not delivered."""
        self.thread.join(timeout)
        with self._news:
            left = len(self._waiting)
            self._waiting.clear()
        if left or self.thread.is_alive():
            _log.warning("a package did not get all changes", package=self._name, left=left)

    def _run(self) -> None:
        while (change := self._next()) is not None:
            self._called_at = time.monotonic()
            try:
                self._receive(change=change)
            except BaseException as error:  # even SystemExit: it must not end this thread
                self._failure = type(error).__name__  # its text is in the log
                self._failed_ever += 1
                if self._failure != self._logged:  # the one before was of another kind
                    self._logged = self._failure
                    _log.error("a package failed on a change", package=self._name, exc_info=error)
            else:
                self._logged = ""
            self._called_at = None

    def _next(self) -> CatalogueChange | None:
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            missed, self._missed = self._missed, 0
            if missed:
                _log.warning("a package missed changes", package=self._name, missed=missed)
            return replace(self._waiting.popleft(), missed=missed)

    def _died(self, error: BaseException) -> None:
        self.miss(died(error))

    def _count_missed(self, why: str) -> None:
        self._missed += 1
        self._missed_ever += 1
        self._why_missed = why


def died(error: BaseException) -> str:
    """Return why a change was missed that a thread may have had in hand when it died."""
    return f"a thread died ({type(error).__name__})"
