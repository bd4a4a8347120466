"""Servers with one deliberate fault each, and the violations that must reveal it to the checker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from plugind.catalogue import Catalogue
from plugind.catalogue.waiting import Subscription, Waiting
from plugind.errors import Compacted
from plugind.events.broker import Broker, Consumer, Line
from plugind.events.event import Moment
from plugind.feed.feed import Feed
from plugind.feed.liveness import Liveness
from plugind.intake.writer import Request, Writer
from plugind.model import Change, Committed
from plugind.state import State
from plugind.store.base import Outcome, Store
from plugind.store.etcd.following import Follower
from plugind.store.etcd.opened import Opened
from plugind.store.etcd.rpc_pb2 import Event
from plugind.testing.stores import Wrapped
from tests.consistency import violations as kinds

EVERY = 7
"""A fault occurs once in this number of operations: rarely enough for the servers to go on."""

LATE = 0.1
"""Seconds by which the followers of a Late store lag behind."""


class Counting(Wrapped):
    """A store that counts its calls."""

    count = 0

    def is_turn(self) -> bool:
        """Return whether the fault occurs in this call."""
        self.count += 1
        return self.count % EVERY == 0


class Late(Wrapped):
    """A sound store whose followers learn late of what other servers write."""

    def wait(self, after: int, timeout: float) -> bool:
        self.ended.wait(LATE)
        return self.inner.wait(after, timeout)

    @property
    def ended(self) -> threading.Event:
        return vars(self).setdefault("_ended", threading.Event())

    def close(self) -> None:
        self.ended.set()
        super().close()


class DoublesIndexes(Counting):
    """A store that acknowledges a change with the index of the previous one."""

    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        outcomes = self.inner.commit(changes)
        if changes and self.is_turn():
            return [each - 1 if isinstance(each, int) else each for each in outcomes]
        return outcomes


class Compacts(Counting):
    """A sound store whose log is compacted continually."""

    def read(self, after: int, limit: int = 256) -> Sequence[Committed]:
        found = self.inner.read(after, limit)
        if found and self.is_turn():
            raise Compacted("the log was compacted")
        return found


@dataclass(frozen=True)
class Mutant:
    """A fault: a store to wrap around the real one, and patches to parts of plugind."""

    name: str
    finds: frozenset[str]
    wrapper: type[Wrapped] | None = None
    patch: Callable[[pytest.MonkeyPatch], None] = lambda monkeypatch: None
    writes: int = 90
    servers: int = 2
    ttl: str = "30s"
    sleepers: int = 0

    def __str__(self) -> str:
        return self.name

    def wrap(self, kind: type[Store]) -> type[Store]:
        return self.wrapper.around(kind) if self.wrapper else kind


def _answers_first(self: Writer, batch: Sequence[Request]) -> list[Change]:
    """Answer requests with the indexes that their changes should get; return the changes."""
    planned, _ = self._plan(batch, self._feed.state)
    index = self._feed.state.index
    for each in planned:
        index += bool(each.change)
        if each.error is not None:
            each.request.answer.set_exception(each.error)
        else:
            each.request.answer.set_result((index, each.digest))
    return [each.change for each in planned if each.change]


def _acknowledges_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the writer answer changes a moment before they are committed."""

    def attempt(self: Writer, batch: Sequence[Request]) -> list[Request]:
        changes = _answers_first(self, batch)
        threading.Event().wait(LATE)
        self._commit(changes)
        self._feed.catch_up()
        return []

    monkeypatch.setattr(Writer, "_attempt", attempt)


def _loses_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the writer answer some changes that are never committed."""
    calls = iter(range(1, 10**9))
    real = Writer._attempt

    def attempt(self: Writer, batch: Sequence[Request]) -> list[Request]:
        if next(calls) % EVERY:
            return real(self, batch)
        _answers_first(self, batch)
        return []

    monkeypatch.setattr(Writer, "_attempt", attempt)


def _forgets_subscribers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make some changes that a client waits for end the subscriptions without a call."""
    calls = iter(range(1, 10**9))
    real: Callable[..., None] = Waiting.wake

    def wake(self: Waiting, resources: Collection[str]) -> None:
        has_waiting = any(self._waiting.get(each) for each in resources)
        if not has_waiting or next(calls) % EVERY:
            real(self, resources)
            return
        with self._lock:
            for resource in resources:
                self._waiting.pop(resource, None)

    monkeypatch.setattr(Waiting, "wake", wake)
    monkeypatch.setattr(Waiting, "_unpark", _unpark)


def _unpark(self: Waiting, subscription: Subscription) -> None:
    waiting = self._waiting.get(subscription.resource, {})
    if waiting.pop(subscription, self) is None and not waiting:
        self._waiting.pop(subscription.resource, None)


def _skips_what_was_compacted(monkeypatch: pytest.MonkeyPatch) -> None:
    def reload(self: Feed) -> None:
        self._state = self._state.changed(index=self._store.newest())

    monkeypatch.setattr(Feed, "_reload", reload)


def _reads_old_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Feed, "refresh", lambda self: self._state)


def _shows_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the feed apply half of some changes, and the other half with the next change."""
    calls = iter(range(1, 10**9))
    left: dict[int, Change] = {}
    real = State.apply

    def follow(
        self: Feed,
        batch: Sequence[Committed],
        planned: Mapping[str, tuple[State, State]],
    ) -> None:
        old = new = self._state
        for each in batch:
            change = each.change
            if late := left.pop(id(self), None):
                new = real(new, new.index, late)
            if next(calls) % EVERY == 0 and len(change.instances) > 1:
                left[id(self)] = change
                change = change.changed(instances=change.instances[:1])
            new = real(new, each.index, change)
        self._state = new
        for subscriber in self._subscribers:
            subscriber.follow(old, new, batch)

    monkeypatch.setattr(Feed, "_follow", follow)


def _doubles_events(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(1, 10**9))
    real = Consumer.put

    def put(self: Consumer, moment: Moment) -> None:
        real(self, moment)
        if next(calls) % EVERY == 0 and self.after == moment.index:
            self.after -= 1
            real(self, moment)

    monkeypatch.setattr(Consumer, "put", put)


def _reorders_events(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[Consumer], Sequence[Line]] = Consumer.take
    monkeypatch.setattr(Consumer, "take", lambda self: list(real(self))[::-1])


def _loses_the_first_event(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Broker.earlier

    def earlier(self: Broker, consumer: Consumer, start: int) -> Iterator[Moment]:
        return real(self, consumer, start + 1 if start > 1 else start)

    monkeypatch.setattr(Broker, "earlier", earlier)


def _goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make some reads return an earlier state."""
    calls = iter(range(1, 10**9))
    kept: dict[int, list[State]] = {}
    real = Feed._follow

    def follow(self: Feed, *args: Any) -> None:
        kept.setdefault(id(self), []).append(self._state)
        real(self, *args)

    def state(self: Catalogue) -> State:
        states = kept.get(id(self._feed), [])
        if states and next(calls) % EVERY == 0:
            return states[-min(len(states), 5)]
        return self._feed.state

    monkeypatch.setattr(Feed, "_follow", follow)
    monkeypatch.setattr(Catalogue, "state", property(state))


def _expires_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make nodes that went down go down once more as soon as they are heard again."""
    real: Callable[[Liveness], None] = Liveness._silence_late
    down: dict[int, set[str]] = {}

    def silence_late(self: Liveness) -> None:
        late = down.setdefault(id(self), set())
        if back := late & self._deadlines.beats().keys():
            late -= back
            self._silence(back, lambda node_id: 1)
        with self._wake:
            late.update(self._deadlines.late(time.monotonic()))
        real(self)

    monkeypatch.setattr(Liveness, "_silence_late", silence_late)


def _reads_what_the_watch_brought(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the newest index from the watch, which is late on every second server."""
    seen: list[Follower] = []
    real = Follower._take

    def take(self: Follower, events: Sequence[Event]) -> None:
        if self not in seen:
            seen.append(self)
        if seen.index(self) % 2:
            threading.Event().wait(LATE)
        real(self, events)

    monkeypatch.setattr(Follower, "_take", take)
    monkeypatch.setattr(Opened, "newest", lambda self: self._follower.end)


MUTANTS = [
    Mutant(
        "acknowledge before commit",
        frozenset([kinds.OLD]),
        patch=_acknowledges_early,
        servers=1,
    ),
    Mutant("lose an acknowledged report", frozenset([kinds.LOST]), patch=_loses_changes),
    Mutant("acknowledge another index", frozenset([kinds.ELSEWHERE]), DoublesIndexes),
    Mutant("lose a wake", frozenset([kinds.ASLEEP]), patch=_forgets_subscribers),
    Mutant(
        "no recovery from compaction",
        frozenset([kinds.OLD, kinds.MISMATCH]),
        Compacts,
        _skips_what_was_compacted,
    ),
    Mutant("old default read", frozenset([kinds.OLD]), Late, _reads_old_states),
    Mutant("half a report", frozenset([kinds.HALF]), patch=_shows_halves),
    Mutant("doubled event", frozenset([kinds.REPEATED]), patch=_doubles_events),
    Mutant("events out of order", frozenset([kinds.REORDERED]), patch=_reorders_events),
    Mutant("event lost between streams", frozenset([kinds.MISSED]), patch=_loses_the_first_event),
    Mutant("index goes backwards", frozenset([kinds.BACKWARDS]), patch=_goes_back),
    Mutant(
        "lease expires twice",
        frozenset([kinds.EARLY]),
        patch=_expires_twice,
        ttl="1s",
        sleepers=2,
        writes=400,
    ),
]

ON_ETCD = [
    *(each for each in MUTANTS if each.name in {"acknowledge before commit", "lose a wake"}),
    Mutant(
        "read what the watch brought", frozenset([kinds.OLD]), None, _reads_what_the_watch_brought
    ),
]
"""The mutants that are also tested on etcd, and those that are possible only there."""
