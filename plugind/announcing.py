"""Tells packages of changes of the catalogue, by the hook ``plugind_changed``.

Whoever writes only hands a change over. A thread of this module's works out what became of which
instance, and each package that listens is told by a thread of its own out of a bounded queue: one
that is slow, hangs or fails delays nobody, and what it missed is counted and told.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from plugind import logs
from plugind.catalogue.holdings import Holdings
from plugind.model import (
    CAME,
    HEALTHY,
    UNHEALTHY,
    WENT,
    CatalogueChange,
    Change,
    Fingerprint,
    InstanceChange,
    seen,
)
from plugind.store.base import Contents

QUEUE_MAXIMUM = 1_000
"""Changes that wait for a package; of more the oldest are dropped."""

CLOSE_TIMEOUT = 2.0
"""Seconds that all packages together are given at the end for what still waits."""

Receiver = Callable[..., object]
"""Called with ``change``, by its name."""

_log = logs.get("announcing")


class Announcer:
    """Tells ``receivers``, by the name of each package, of what changes after ``contents``."""

    def __init__(self, contents: Contents, receivers: Mapping[str, Receiver]) -> None:
        self._held = Holdings(contents if receivers else Contents(0, (), (), (), {}))
        self._listeners = [Listener(name, each) for name, each in sorted(receivers.items())]
        self._queue: queue.SimpleQueue[tuple[int, Change] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="announce", daemon=True)
        if self._listeners:
            self._thread.start()

    @property
    def troubles(self) -> list[str]:
        """What packages missed or failed on, one line for each of them."""
        if self._listeners and not self._thread.is_alive():
            return ["packages are told of no changes any more; restart the server"]
        return [listener.trouble for listener in self._listeners if listener.trouble]

    def publish(self, changes: Iterable[tuple[int, Change]]) -> None:
        """Changes that are durable, each with its index, in their order. Returns at once."""
        if self._listeners:
            for each in changes:
                self._queue.put(each)

    def close(self) -> None:
        """Ends everything; what waits for a package is told within CLOSE_TIMEOUT or given up."""
        if not self._listeners:
            return
        deadline = time.monotonic() + CLOSE_TIMEOUT
        self._queue.put(None)
        self._thread.join(CLOSE_TIMEOUT)
        for listener in self._listeners:
            listener.release()
        for listener in self._listeners:
            listener.close(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while (each := self._queue.get()) is not None:
            index, change = each
            instances = tuple(_instances(self._held, change))
            self._held.apply(change)
            if instances:
                told = CatalogueChange(index, change.time, instances)
                for listener in self._listeners:
                    listener.put(told)


class Listener:
    """One package: what waits for it, and the thread that calls it."""

    def __init__(self, name: str, receive: Receiver) -> None:
        self._name = name
        self._receive = receive
        self._waiting: deque[CatalogueChange] = deque()
        self._missed = 0  # since it was last called
        self._missed_ever = 0
        self._failed_ever = 0
        self._failure = ""
        self._logged = ""
        self._closing = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"tell {name}", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str:
        """How many changes it missed and failed on, and why the last; "" when none."""
        told = []
        if self._missed_ever:
            told.append(f"missed {self._missed_ever:,} changes, for it is too slow")
        if self._failed_ever:
            told.append(f"failed on {self._failed_ever:,} changes, last with {self._failure}")
        return f"{self._name} {' and '.join(told)}" if told else ""

    def put(self, change: CatalogueChange) -> None:
        """Never waits: what is too much drops the oldest."""
        with self._news:
            if len(self._waiting) == QUEUE_MAXIMUM:
                self._waiting.popleft()
                self._missed += 1
                self._missed_ever += 1
                if self._missed == 1:
                    _log.warning("a package is too slow and misses changes", package=self._name)
            self._waiting.append(change)
            self._news.notify()

    def release(self) -> None:
        """Takes what waits, and nothing more, without being waited for."""
        with self._news:
            self._closing = True
            self._news.notify()

    def close(self, timeout: float) -> None:
        """Waits for the end, and tells what could not be told."""
        self._thread.join(timeout)
        with self._news:
            left = len(self._waiting)
            self._waiting.clear()
        if left or self._thread.is_alive():
            _log.warning("a package was not told of everything", package=self._name, left=left)

    def _run(self) -> None:
        while (change := self._next()) is not None:
            try:
                self._receive(change=change)
            except BaseException as error:  # SystemExit too: nobody else would start this thread
                self._fail(error)
            else:
                self._logged = ""

    def _next(self) -> CatalogueChange | None:
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            missed, self._missed = self._missed, 0
            if missed:
                _log.warning("a package missed changes", package=self._name, missed=missed)
            return replace(self._waiting.popleft(), missed=missed)

    def _fail(self, error: BaseException) -> None:
        """Counts each failure, and logs those that are not of the same kind as the one before."""
        self._failure = type(error).__name__  # its text is for the log: health needs no token
        self._failed_ever += 1
        if self._failure != self._logged:
            self._logged = self._failure
            _log.error("a package failed on a change", package=self._name, exc_info=error)


def _instances(held: Holdings, change: Change) -> Iterator[InstanceChange]:
    """What becomes of instances with a change of what is held."""
    for step, node in held.affected(change):
        before = seen(step.before, node.before) if step.before and node.before else None
        after = seen(step.after, node.after) if step.after and node.after else None
        shown = after or before
        if shown and (kind := _kind(before, after)):
            id, type, plugin, role = step.some.key
            told = (shown.healthy, shown.description)
            yield InstanceChange(kind, type, plugin, role, id, node.some.name, *told)


def _kind(before: Fingerprint | None, after: Fingerprint | None) -> str:
    """ "" when neither it came or went, nor its health is another."""
    if before is None or after is None:
        return CAME if after else WENT if before else ""
    if before.healthy == after.healthy:
        return ""
    return HEALTHY if after.healthy else UNHEALTHY
