"""Subscriptions to the next change of a resource, and how the places for them are shared.

Nothing here waits: a subscription calls its function once, and the HTTP server that it belongs to
parks the request until then. Each subscription is to one resource only, so that a change of another
resource does not end it. Places are shared fairly:

1. A token holds at most its share of the places.
2. While all places are taken, a caller that would still hold fewer places than the one with the
   most takes a place from that one: its oldest subscription ends, as if its time to wait were over.
   So one address may use all places that no other wants.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

from plugind import logs
from plugind.errors import TooManyParked
from plugind.health.hits import Hits

_log = logs.get("server")

CHANGED, GAVE_WAY, CLOSED = "changed", "gave way", "closed"
"""Why a subscription ended."""


class Places(NamedTuple):
    """The use of the places: the names of their limits, and the message when there is none.

    ``frees_at_once``: a place that is taken away is free at once. Otherwise it is free once its
    holder has closed it, and the caller that asked for it has to ask again.
    """

    limit: str
    share: str
    content: str
    advice: str
    frees_at_once: bool


PARKED = Places(
    "max_parked",
    "max_parked_share",
    "blocking queries",
    "are parked already; try again later, or without index",
    frees_at_once=True,
)
STREAMS = Places(
    "max_streams",
    "max_streams",
    "event streams",
    "are open already; try again later",
    frees_at_once=False,
)


class Holder(NamedTuple):
    """The holder of places: a token's accessor or, without a token, an address."""

    name: str = ""
    has_token: bool = False


ANYBODY = Holder()


class Subscription:
    """A place that waits for one change; ``close`` gives the place back.

    ``ended`` says why the subscription ended, "" while it has not. ``was_parked``: it had to wait,
    because the change had not come yet when it was made.
    """

    __slots__ = ("_waiting", "call", "ended", "holder", "is_due", "resource", "was_parked")

    def __init__(
        self,
        waiting: Waiting,
        resource: str,
        is_due: Callable[[], bool],
        call: Callable[[], object],
        holder: Holder,
    ) -> None:
        self._waiting = waiting
        self.resource = resource
        self.is_due = is_due
        self.call = call
        self.holder = holder
        self.ended = ""
        self.was_parked = False

    def close(self) -> None:
        """Give the place back; the function is not called any more, unless the call has begun."""
        self._waiting.leave(self)


class Waiting:
    """At most ``maximum`` places, for subscriptions that end when ``wake`` names their resource.

    A token may hold ``share`` percent of the places, but at least one. Safe for threads; functions
    are called while no lock is held.
    """

    def __init__(
        self,
        maximum: int,
        share: int = 100,
        hits: Hits | None = None,
        places: Places = PARKED,
    ) -> None:
        self._maximum = maximum
        self._places = places
        self._token_maximum = max(1, maximum * share // 100)
        self._hits = hits or Hits()
        self._lock = threading.Lock()
        self._waiting: dict[str, dict[Subscription, None]] = {}  # by resource
        self._held: dict[str, dict[Subscription, None]] = {}  # by holder, the oldest first
        self._count = 0
        self._closed = False

    @property
    def count(self) -> int:
        """Return how many places are taken."""
        return self._count

    def subscribe(
        self,
        resource: str,
        is_due: Callable[[], bool],
        call: Callable[[], object],
        holder: Holder = ANYBODY,
    ) -> Subscription:
        """Call ``call`` once: as soon as ``is_due()``, when the place is taken away, or on close.

        ``call`` may be called from any thread, and before this method returns if there is nothing
        to wait for; it must not block. ``is_due`` is called under a lock. A change that makes it
        true is followed by a call of ``wake``; both this method and ``wake`` check under the lock,
        so no change is missed. The place is held until the subscription is closed, even after it
        ended. Raise TooManyParked when the holder may have no place.
        """
        made = Subscription(self, resource, is_due, call, holder)
        ended = [made]
        with self._lock:
            if self._closed or is_due():
                made.ended = CLOSED if self._closed else CHANGED
            else:
                ended = self._make_room(holder)
                made.was_parked = True
                self._waiting.setdefault(resource, {})[made] = None
                self._held.setdefault(holder.name, {})[made] = None
                self._count += 1
        _call(ended)
        return made

    def leave(self, subscription: Subscription) -> None:
        """Free the place of a subscription, which ends it; do nothing if it is free already."""
        with self._lock:
            self._unpark(subscription)
            self._free(subscription)

    def wake(self, resources: Iterable[str]) -> None:
        """End the subscriptions to any of the resources that are due."""
        with self._lock:
            ended = [
                each
                for resource in resources
                for each in self._waiting.get(resource, ())
                if each.is_due()
            ]
            for each in ended:
                self._end(each, CHANGED)
        _call(ended)

    def close(self) -> None:
        """End all subscriptions; from now on each new one ends at once."""
        with self._lock:
            self._closed = True
            ended = [each for waiting in self._waiting.values() for each in waiting]
            for each in ended:
                self._end(each, CLOSED)
        _call(ended)

    def _make_room(self, holder: Holder) -> list[Subscription]:
        """Return the subscription that gives way to a new one of a holder, if one has to.

        Raise TooManyParked when the holder may have no further place.
        """
        held = len(self._held.get(holder.name, ()))
        if holder.has_token and held >= self._token_maximum:
            self._hits.add(self._places.share, accessor=holder.name)
            raise TooManyParked(
                f"{held} {self._places.content} of this token {self._places.advice}"
            )
        if self._count < self._maximum:
            return []
        self._hits.add(self._places.limit, holder=holder.name)
        most = max(self._held.values(), key=len)
        refused = TooManyParked(f"{self._maximum} {self._places.content} {self._places.advice}")
        if len(most) <= held + 1:
            raise refused
        loser = next(iter(most))
        if not self._places.frees_at_once:
            if not any(each.ended for held in self._held.values() for each in held):
                self._end(loser, GAVE_WAY)  # its holder notices within a second
            raise refused
        self._free(loser)
        if loser.ended:
            return []
        self._end(loser, GAVE_WAY)
        return [loser]

    def _end(self, subscription: Subscription, why: str) -> None:
        subscription.ended = why
        self._unpark(subscription)

    def _unpark(self, subscription: Subscription) -> None:
        """Make sure that no change ends the subscription any more."""
        waiting = self._waiting.get(subscription.resource, {})
        if waiting.pop(subscription, self) is None and not waiting:
            del self._waiting[subscription.resource]

    def _free(self, subscription: Subscription) -> None:
        """Free a place, unless it is free already."""
        held = self._held.get(subscription.holder.name, {})
        if held.pop(subscription, self) is None:
            self._count -= 1
            if not held:
                del self._held[subscription.holder.name]


def _call(ended: Iterable[Subscription]) -> None:
    for each in ended:
        try:
            each.call()
        except Exception:  # the others must still be woken
            _log.error("a waiting query cannot be woken", exc_info=True)
