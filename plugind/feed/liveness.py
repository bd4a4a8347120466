"""Reports to intake which nodes are down, and what has been lost for too long.

If several processes use the store, each hears some of the nodes. They share what they heard through
the store, so that each knows the deadlines of all nodes; the process that holds the store's duty
acts on them.

Deadlines use the monotonic clock, so that a jump of the wall clock takes no node down, and those of
nodes start again with the process, so that a restart of the server takes none down either.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Protocol

from plugind import logs
from plugind.errors import PlugindError
from plugind.feed.deadlines import Deadlines, scaled_ttl
from plugind.health.threads import OwnedThread
from plugind.model import DOWN, Beat, Committed, Lost
from plugind.model.times import SECOND
from plugind.state import State
from plugind.store.base import Heard

PAUSE = 0.05
"""Time between two looks for nodes that are late, as a share of the shortest time to live."""

PAUSE_MAXIMUM = 1.0  # seconds
RETRY = 1.0  # seconds after a look or a mark that failed

SAVE_INTERVAL = 10.0
"""Seconds between two writes of beats to the store; more if there are too many beats to write at
most SAVE_RATE of them a second."""

SAVE_RATE = 200

AT_ONCE = 500
"""Nodes, or lost items, in one change at most: a store may limit the size of a change."""

MARK_INTERVAL = 25.0
"""Seconds between two marks that the process runs: the last one is never older than 30 s."""

BLIND = 0.5
"""How long this process may not know what other processes heard, as a share of the shortest time to
live. After a longer time each node gets a whole time to live before it counts as down."""

DIM = 0.2
"""Share of the shortest time to live after which deadlines are moved by the time in which it was
not known what others heard: the cause may have kept others from writing too, and what they heard
will come soon."""

_KEPT_AFTER_RESTART = (
    600.0  # seconds that lost items are kept at least, or the whole threshold if that is shorter
)

_MARK_FAILED = "that this server runs could not be written"
_HEAR_FAILED = "what other servers heard could not be read"
_SAVE_FAILED = "the times at which nodes were last heard could not be written"

_log = logs.get("liveness")


class Shared(Protocol):
    """The part of a store through which its processes know what the others heard."""

    def heard(self, after: int) -> Heard: ...

    def has_duty(self) -> bool: ...


def _ignore(node_id: str, beat: Beat) -> None:
    """Ignore a beat that another process heard."""


class Liveness:
    """Calls ``silence(node_ids, last_heard)`` for nodes that were not heard within the time to live
    that their last answer gave, ``collect(expired)`` at intervals with the items that have been
    ``lost()`` for ``gc_threshold``, ``remember(beats)`` to store when nodes were last heard, and
    ``mark()`` to store that the process runs.

    ``shared`` is the store if several processes use it; ``seen(node_id, beat)`` is called with each
    beat that any of them stored.

    ``last_heard(node_id)`` returns when a node was last heard, or None if it is no longer late.

    ``ttl`` and ``gc_threshold`` are in seconds; ``nodes`` has the last known beat of each node that
    is not down. With many nodes the time to live is longer than ``ttl``, so that they send at most
    ``rate`` heartbeats a second. Safe for threads; ``close`` ends its own.
    """

    def __init__(
        self,
        ttl: float,
        gc_threshold: float,
        nodes: Mapping[str, Beat],
        *,
        silence: Callable[[Collection[str], Callable[[str], int | None]], object],
        lost: Callable[[], Collection[Lost]],
        collect: Callable[[Collection[Lost]], object],
        remember: Callable[[Mapping[str, Beat]], object] = lambda beats: None,
        mark: Callable[[], object] = lambda: None,
        rate: float = 250.0,
        shared: Shared | None = None,
        seen: Callable[[str, Beat], object] = _ignore,
    ) -> None:
        self._shared = shared
        self._seen = seen
        self._cursor = 0
        self._heard_at = time.monotonic()
        self._shortest = ttl
        self._rate = rate
        self._gc_threshold = gc_threshold
        self._silence = silence
        self._lost = lost
        self._collect = collect
        self._remember = remember
        self._mark = mark
        self._wake = threading.Condition()
        self._closed = False
        self._failures: dict[str, str] = {}
        self._save_at = 0.0
        self._deadlines = Deadlines()
        # The last answer before this start may have given more time than the last stored beat says.
        usual = round(scaled_ttl(ttl, len(nodes), rate) * SECOND)
        for node_id, beat in nodes.items():
            given = beat._replace(ttl=max(beat.ttl, usual))
            self._deadlines.expect(node_id, given, time.monotonic())
        shortest = min([ttl, *(beat.ttl / SECOND for beat in nodes.values() if beat.ttl)])
        self._pause = min(PAUSE * shortest, PAUSE_MAXIMUM)
        self._blind, self._dim = BLIND * shortest, DIM * shortest
        # For items lost before this process started, only the wall clock says how long ago.
        self._expiries = {each: self._expiry(each, is_old=True) for each in lost()}
        self.thread = OwnedThread("liveness", self._run, restarts=True)
        self.thread.start()

    def beat(self, node_id: str, run: str = "") -> tuple[float, bool]:
        """Note that a node was heard, from the agent with the RunID ``run``. Return the number of
        seconds within which it must be heard again, and whether it was late; if so, it may have
        been written as down just now."""
        with self._wake:
            ttl = self.ttl
            beat = Beat(time.time_ns(), round(ttl * SECOND), run)
            return ttl, self._deadlines.heard(node_id, beat, time.monotonic())

    def heard(self) -> Mapping[str, Beat]:
        """Return the last beat of each node that is expected to be heard."""
        with self._wake:
            return self._deadlines.beats()

    @property
    def ttl(self) -> float:
        """Return the seconds within which a node that is answered now must be heard again."""
        return scaled_ttl(self._shortest, len(self._deadlines), self._rate)

    def follow(self, old: State, new: State, batch: Sequence[Committed]) -> None:
        """Stop expecting nodes that are gone or that another process found to be late; expect nodes
        that another process was the first to hear."""
        steps = [step for committed in batch for step in committed.change.nodes]
        if not steps:
            return
        now = time.monotonic()
        with self._wake:
            for step in steps:
                node_id = step.some.id
                if step.after is None:
                    if node_id not in new.nodes:
                        self._deadlines.forget(node_id)
                elif self._shared is None:
                    continue
                elif step.after.status == DOWN:
                    # Even if it was heard here just now: its next beat brings it back up.
                    self._deadlines.expect_none(node_id)
                elif node_id not in self._deadlines:
                    given = Beat(time.time_ns(), round(self.ttl * SECOND))
                    self._deadlines.expect(node_id, given, now)

    def missed(self, old: State, new: State) -> None:
        """Stop expecting nodes that are gone or down; expect nodes that another process was the
        first to hear."""
        now = time.monotonic()
        with self._wake:
            for node_id in old.nodes:
                if node_id not in new.nodes:
                    self._deadlines.forget(node_id)
            for node_id, node in new.nodes.items():
                if self._shared is None:
                    continue
                if node.status == DOWN:
                    self._deadlines.expect_none(node_id)
                elif node_id not in self._deadlines:
                    given = Beat(time.time_ns(), round(self.ttl * SECOND))
                    self._deadlines.expect(node_id, given, now)

    def close(self) -> None:
        """End the thread, and then write when nodes were last heard and that this process ran."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self.thread.join()
        if self._do(_SAVE_FAILED, self._save):
            self._do(_MARK_FAILED, self._mark)

    def _run(self) -> None:
        sweep_every = min(60.0, self._gc_threshold / 20)
        sweep_at = mark_at = 0.0
        regular = min(self._pause, sweep_every)
        pause = 0.0  # the first mark says when the process began
        while not self._is_closed_after(pause):
            if time.monotonic() >= mark_at:
                is_marked = self._do(_MARK_FAILED, self._mark)
                mark_at = time.monotonic() + (MARK_INTERVAL if is_marked else RETRY)
            is_well = self._do(_HEAR_FAILED, self._hear)
            if is_well:
                is_well = self._do("late nodes could not be marked as down", self._silence_late)
            if time.monotonic() >= sweep_at:
                self._do("lost items could not be forgotten", self._collect_expired)
                sweep_at = time.monotonic() + sweep_every
            if time.monotonic() >= self._save_at:
                self._do(_SAVE_FAILED, self._save)
            pause = regular if is_well else max(regular, RETRY)

    def _do(self, failure: str, task: Callable[[], object]) -> bool:
        """Do a task; return whether it succeeded. A task that raises any exception is tried again
        later, and is logged only once for as long as it fails in the same way."""
        error: Exception | None = None
        try:
            task()
        except Exception as raised:
            error = raised
        reason = f"{type(error).__name__}: {error}" if error else ""
        if error and self._failures.get(failure) != reason:
            known = isinstance(error, PlugindError)
            _log.error(failure, reason=str(error), exc_info=None if known else error)
        self._failures[failure] = reason
        return error is None

    def _is_closed_after(self, seconds: float) -> bool:
        with self._wake:
            return self._closed or (self._wake.wait(seconds) and self._closed)

    def _hear(self) -> None:
        """Take note of the beats that any process stored since the last look. Raise StoreError."""
        if self._shared is None:
            return
        after, beats = self._shared.heard(self._cursor)
        now, wall = time.monotonic(), time.time_ns()
        with self._wake:
            unknown_for = now - self._heard_at
            if unknown_for > self._blind:
                self._deadlines.extend(now)
            elif unknown_for > self._dim:
                self._deadlines.postpone(unknown_for)
            for node_id, beat in beats:
                # It was stored since the last look, whatever the clocks of the two machines say.
                age = min(max((wall - beat.heard) / SECOND, 0.0), unknown_for)
                self._deadlines.heard_elsewhere(node_id, beat, now - age)
            self._cursor, self._heard_at = after, now
        for node_id, beat in beats:
            self._seen(node_id, beat)

    def _has_duty(self) -> bool:
        return self._shared is None or self._shared.has_duty()

    def _silence_late(self) -> None:
        has_duty = self._has_duty()  # even if none is late, to show that this process lives
        # The time of the last look at what others heard: the process may have been paused since.
        now = time.monotonic() if self._shared is None else self._heard_at
        with self._wake:
            late = self._deadlines.late(now)
        if not late or not has_duty:
            return
        for start in range(0, len(late), AT_ONCE):
            some = late[start : start + AT_ONCE]
            self._silence(some, partial(self._last_heard, now))
            with self._wake:
                for node_id in some:
                    self._deadlines.drop(node_id, now)

    def _last_heard(self, now: float, node_id: str) -> int | None:
        with self._wake:
            return self._deadlines.late_since(node_id, now)

    def _save(self) -> None:
        """Write when nodes were last heard, if any was heard since the last time."""
        with self._wake:
            beats = self._deadlines.take_unsaved()
        if not beats:
            return
        interval = max(SAVE_INTERVAL, len(beats) / SAVE_RATE)
        self._save_at = time.monotonic() + (interval if self._shared is None else self._pause)
        try:
            self._remember(beats)
        except BaseException:
            with self._wake:
                self._deadlines.put_back(beats)
            raise

    def _collect_expired(self) -> None:
        self._expiries = {
            each: self._expiries.get(each) or self._expiry(each, is_old=False)
            for each in self._lost()
        }
        now = time.monotonic()
        expired = [each for each, due in self._expiries.items() if due <= now]
        if not self._has_duty():
            return
        for start in range(0, len(expired), AT_ONCE) or (0,):
            self._collect(expired[start : start + AT_ONCE])
        if expired:
            _log.info("forgot what was lost for too long", count=len(expired))

    def _expiry(self, lost: Lost, *, is_old: bool) -> float:
        """Return when a lost item is to be forgotten, in seconds of the monotonic clock.

        After a restart only the wall clock says how long the item has been lost, so that time is
        used only within bounds.
        """
        left = self._gc_threshold
        if is_old:
            age = (time.time_ns() - lost.since) / SECOND
            at_least = min(_KEPT_AFTER_RESTART, self._gc_threshold)
            left = min(max(self._gc_threshold - age, at_least), self._gc_threshold)
        return time.monotonic() + left
