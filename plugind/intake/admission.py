"""Limits how many reports are in work at once, before any work is spent on them.

1. One report of each node at a time: a second one is refused (429).
2. A fixed number of small reports at a time, a quarter as many large ones, and at most three
   quarters of either for one token, since a fleet usually shares a token. Further reports are
   refused (503), because each one holds a thread of the HTTP server.
3. Large reports are parsed, validated and written a few at a time, which bounds the memory and
   interpreter time that they take. The others wait, taking turns by token and node, for PATIENCE
   seconds or until their client goes away. Small reports never wait for large ones.
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
"""A report with a larger body, in bytes, is a large one, however few instances it has."""

_LOOK_EVERY = 0.5  # seconds between two checks that a waiting client is still there

PATIENCE = 8.0
"""Seconds that a large report waits for its turn; an agent waits 10 s for its answer."""


def large_places(maximum: int) -> int:
    """Return how many large reports may wait or be in work if ``maximum`` small ones may be."""
    return max(2, maximum // 4)


class Turns:
    """Lets ``maximum`` callers at a time go on, in turn by token and node. Thread-safe."""

    def __init__(self, maximum: int) -> None:
        self._free = maximum
        self._lane: Lane[threading.Event] = Lane()
        self._lock = threading.Lock()
        self._given_up: set[threading.Event] = set()

    def __len__(self) -> int:
        """Return how many callers wait for a turn."""
        with self._lock:
            return len(self._lane) - len(self._given_up)

    def wait(self, token: str, node: str, timeout: float, is_gone: Callable[[], bool]) -> bool:
        """Wait at most ``timeout`` seconds for a turn; return whether it came.

        Raise ClientGone soon after ``is_gone()`` becomes true.
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
        """Give a turn back, to the next caller that still waits."""
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
    """One admitted report, a small one at first: ``give_back`` frees its place. ``turn`` returns a
    context manager that waits for the turn of a large report, and holds it."""

    def __init__(
        self, give_back: Callable[[], object], turn: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._give_back = give_back
        self._turn = turn
        self.is_large = False

    def become_large(self) -> None:
        """Wait until the report may go on as a large one; do nothing if it already is. Raise
        Busy and ClientGone."""
        if not self.is_large:
            give_back, self._give_back = self._give_back, _nothing
            give_back()
            turn = self._turn()
            turn.__enter__()
            self._give_back, self.is_large = partial(turn.__exit__, None, None, None), True

    def leave(self) -> None:
        """Free the report's place for others."""
        self._give_back()


def _nothing() -> None:
    """Give nothing back: no place is held at the moment."""


class Admission:
    """Admits ``maximum`` small reports and ``large_places(maximum)`` large ones at a time. Only
    ``large`` of the large ones are in work; the others wait. Thread-safe."""

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
        """Admit a report of a node while the block lasts.

        ``secret`` is the one that the report came with: until a secret is pinned, a caller with
        another one must not lock the node itself out. ``is_gone`` returns whether the client went
        away. Raise ReportInWork and Busy.
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
        """Raise Busy if a report of ``size`` bytes would find no place to wait for its turn now."""
        if size > LARGE_BYTES and not self._large.has_one(token):
            raise self._busy("max_large_reports", node_id)

    @contextmanager
    def _turn(self, token: str, node_id: str, is_gone: Callable[[], bool]) -> Iterator[None]:
        """Wait for a large report's turn, and hold it while the block lasts. Raise Busy."""
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
