"""Decides which reports may be in work at once, before they cost anything.

1. One report of each node at a time: a second one is refused (429).
2. A fixed number of small ones at a time, a quarter as many large ones, and three quarters of
   either for one token, since a fleet usually shares one: further ones are refused (503), for each
   holds a thread of the HTTP server.
3. Large ones are parsed, validated and written a few at a time, so that what they take of memory
   and of the interpreter is bounded. The others wait, by turns of tokens and of their nodes, for as
   long as their client does. Small ones never wait for them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from plugind import handover
from plugind.errors import Busy, ClientGone, ReportInWork
from plugind.health.hits import Hits
from plugind.intake.fair_queue import Lane, Waiting

LARGE_BYTES = 256 * 2**10
"""Bytes of a body from which on a report is large, however few instances it has."""

_LOOK_EVERY = 0.5  # seconds between two looks whether a client that waits is still there

PATIENCE = 8.0
"""Seconds that a large report waits for its turn; an agent waits 10 s for its answer."""


def large_places(maximum: int) -> int:
    """Return how many large reports may wait or be in work where ``maximum`` small ones may be."""
    return max(2, maximum // 4)


class Turns:
    """Lets ``maximum`` callers at a time go on, by turns of tokens and their nodes. Thread-safe."""

    def __init__(self, maximum: int) -> None:
        self._free = maximum
        self._lane: Lane[threading.Event] = Lane()
        self._lock = threading.Lock()
        self._given_up: set[threading.Event] = set()

    def __len__(self) -> int:
        """Return how many wait for a turn."""
        with self._lock:
            return len(self._lane) - len(self._given_up)

    def wait(self, token: str, node: str, timeout: float, is_gone: Callable[[], bool]) -> bool:
        """Wait for a turn, ``timeout`` seconds at most; return whether it came.

        Raise ClientGone soon after ``is_gone()``.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            turn = threading.Event()
            self._lane.push(Waiting(0, turn, token, node, 1, time.monotonic()))
        gone = False
        while not gone and (left := deadline - time.monotonic()) > 0:
            if turn.wait(min(left, _LOOK_EVERY)):
                return True
            gone = is_gone()
        with self._lock:
            if turn.is_set():  # it came just now
                return True
            self._given_up.add(turn)
        if gone:
            raise ClientGone("the client went away")
        return False

    def leave(self) -> None:
        """Give a turn back, to the next who still waits."""
        with self._lock:
            while self._lane:
                turn = self._lane.pop().request
                if turn not in self._given_up:
                    turn.set()
                    return
                self._given_up.discard(turn)
            self._free += 1


class Places:
    """Places for ``maximum`` requests at a time, three quarters for one token. Thread-safe."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._taken: dict[str, int] = {}
        self._count = 0
        self._lock = threading.Lock()

    def has_one(self, token: str) -> bool:
        """Return whether there is a place for a request of a token."""
        share = max(1, self._maximum * 3 // 4)
        return self._count < self._maximum and self._taken.get(token, 0) < share

    def take(self, token: str) -> bool:
        """Take a place for a request of a token; return whether there was one."""
        with self._lock:
            if not self.has_one(token):
                return False
            self._count += 1
            self._taken[token] = self._taken.get(token, 0) + 1
            return True

    def give_back(self, token: str) -> None:
        """Give back a place that was taken."""
        with self._lock:
            self._count -= 1
            self._taken[token] -= 1
            if not self._taken[token]:
                del self._taken[token]


class Entry:
    """One report that was admitted, as a small one at first, whose place ``give_back`` ends.
    ``turn`` is had by a large one."""

    def __init__(
        self, give_back: Callable[[], object], turn: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._give_back = give_back
        self._turn = turn
        self.is_large = False

    def become_large(self) -> None:
        """Wait until the report may go on as a large one; again does nothing. Raise Busy."""
        if not self.is_large:
            give_back, self._give_back = self._give_back, _nothing
            give_back()
            turn = self._turn()
            turn.__enter__()
            self._give_back, self.is_large = partial(turn.__exit__, None, None, None), True

    def leave(self) -> None:
        """Let others go on."""
        self._give_back()


def _nothing() -> None:
    """Give nothing back: there is no place at the moment."""


class Admission:
    """Admits ``maximum`` small reports at a time, and ``large_places(maximum)`` large ones;
    ``large`` of these are in work. Thread-safe."""

    def __init__(self, hits: Hits, *, maximum: int = 256, large: int = 2) -> None:
        self._hits = hits
        self._small = Places(maximum)
        self._large = Places(large_places(maximum))
        self._turns = Turns(large)
        self._nodes: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    @contextmanager
    def entered(
        self,
        token: str,
        node_id: str,
        secret: str,
        is_gone: Callable[[], bool] = lambda: False,
    ) -> Iterator[Entry]:
        """Let a report of a node in while the block lasts.

        ``secret`` is the node's: before one is pinned, a caller with another does not keep the node
        itself out. ``is_gone`` says whether the client went away. Raise ReportInWork and Busy.
        """
        node = node_id, secret
        with self._lock:
            if node in self._nodes:
                self._hits.add("reports_per_node", node_id=node_id)
                raise ReportInWork("another report of the node is in work; try again later")
            self._nodes.add(node)
        try:
            if not self._small.take(token):
                raise self._busy("max_reports", node_id)
            entry = Entry(
                partial(self._small.give_back, token), partial(self._turn, token, node_id, is_gone)
            )
            try:
                yield entry
            finally:
                entry.leave()
        finally:
            with self._lock:
                self._nodes.discard(node)

    def check_size(self, token: str, node_id: str, size: int) -> None:
        """Raise Busy for a report of ``size`` bytes that could not even wait for its turn now."""
        if size > LARGE_BYTES and not self._large.has_one(token):
            raise self._busy("max_large_reports", node_id)

    @contextmanager
    def _turn(self, token: str, node_id: str, is_gone: Callable[[], bool]) -> Iterator[None]:
        """Wait for a large report's turn, and have it while the block lasts. Raise Busy."""
        if not self._large.take(token):
            raise self._busy("max_large_reports", node_id)
        try:
            if not self._turns.wait(token, node_id, PATIENCE, is_gone):
                raise self._busy("max_large_reports", node_id)
            try:
                with handover.large():
                    yield
            finally:
                self._turns.leave()
        finally:
            self._large.give_back(token)

    def _busy(self, limit: str, node_id: str) -> Busy:
        self._hits.add(limit, node_id=node_id)
        return Busy("as many reports are in work as may be at once; try again later")
