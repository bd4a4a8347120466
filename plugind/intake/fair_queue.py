"""The queue in front of the writer: no token, no node and no large report holds up the others."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from itertools import count
from typing import Generic, TypeVar

import msgspec

LARGE = 256
"""A request for this many instances or more is large: it is written alone, in turn with batches of
small ones."""

BATCH_WEIGHT = 1_024
"""Number of instances at which a batch of small requests, which are written together, is full."""

R = TypeVar("R")


class Waiting(msgspec.Struct, Generic[R], frozen=True):
    """A request in the queue, with its token, its node, and how many instances it may change.

    ``number`` is unique; ``since`` is when it was queued, in seconds of the monotonic clock.
    """

    number: int
    request: R
    token: str
    node: str
    weight: int
    since: float


class Lane(Generic[R]):
    """Requests that are taken in turn: one of each token, and within a token one of each node."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[str, OrderedDict[str, deque[Waiting[R]]]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(queue) for nodes in self._tokens.values() for queue in nodes.values())

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def push(self, waiting: Waiting[R]) -> None:
        nodes = self._tokens.setdefault(waiting.token, OrderedDict())
        nodes.setdefault(waiting.node, deque()).append(waiting)

    def pop(self) -> Waiting[R]:
        token, nodes = self._tokens.popitem(last=False)
        node, queue = nodes.popitem(last=False)
        waiting = queue.popleft()
        if queue:
            nodes[node] = queue
        if nodes:
            self._tokens[token] = nodes
        return waiting


class FairQueue(Generic[R]):
    """Hands requests to one writer in batches. Safe for threads.

    Small requests are taken together, large ones one at a time and alternating with the small ones,
    so a small request waits for at most one large request, however many of them there are.
    """

    def __init__(self) -> None:
        self._small: Lane[R] = Lane()
        self._large: Lane[R] = Lane()
        self._waiting: dict[int, Waiting[R]] = {}  # in the order of arrival
        self._numbers = count()
        self._was_large = False
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_closed(self) -> bool:
        return self._closed

    @property
    def age(self) -> float:
        """Return how many seconds the oldest request has waited; 0 if none waits."""
        with self._changed:
            oldest = next(iter(self._waiting.values()), None)
            return time.monotonic() - oldest.since if oldest else 0.0

    def put(self, request: R, *, token: str = "", node: str = "", weight: int = 1) -> None:
        """Add a request that a token made for a node; it may change ``weight`` instances."""
        with self._changed:
            waiting = Waiting(next(self._numbers), request, token, node, weight, time.monotonic())
            self._waiting[waiting.number] = waiting
            (self._large if weight >= LARGE else self._small).push(waiting)
            self._changed.notify()

    def take(self, timeout: float | None = None) -> list[R]:
        """Return the next requests, in order; wait at most ``timeout`` seconds for one.

        Return an empty list after that time, or when the queue is closed and empty.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._small or self._large or self._closed, timeout)
            self._was_large = bool(self._large) and not (self._small and self._was_large)
            if self._was_large:
                return [self._leave(self._large.pop())]
            batch, weight = [], 0
            while self._small and weight < BATCH_WEIGHT:
                waiting = self._small.pop()
                weight += waiting.weight
                batch.append(self._leave(waiting))
            return batch

    def close(self) -> None:
        """Make ``take`` return without waiting from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _leave(self, waiting: Waiting[R]) -> R:
        del self._waiting[waiting.number]
        return waiting.request
