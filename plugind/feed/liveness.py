"""Reports to intake which nodes are down, and what has been lost for too long.

Deadlines are of the monotonic clock, so that a jump of the wall clock takes no node down, and those
of nodes start again with the process, so that a restart of the server does not either.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from plugind import logs
from plugind.errors import PlugindError
from plugind.feed.deadlines import Deadlines, scaled_ttl
from plugind.health.threads import OwnedThread
from plugind.model import Beat, Committed, Lost
from plugind.model.times import SECOND
from plugind.state import State

PAUSE = 0.05
"""Share of the shortest time to live between two looks for nodes that are late."""

PAUSE_MAXIMUM = 1.0  # seconds
RETRY = 1.0  # seconds after a look or a mark that failed

SAVE_INTERVAL = 10.0
"""Seconds between two times that beats are written to the store; as many, at least, as it takes to
write SAVE_RATE of them a second."""

SAVE_RATE = 200

MARK_INTERVAL = 25.0
"""Seconds between two marks that say that the process runs: the last is never older than 30 s."""

_KEPT_AFTER_RESTART = (
    600.0  # seconds for which lost items are kept at least, of a shorter threshold all
)

_MARK_FAILED = "that this server runs could not be written"
_SAVE_FAILED = "the times at which nodes were last heard could not be written"

_log = logs.get("liveness")


class Liveness:
    """Calls ``silence(node_ids, last_heard)`` for nodes that were not heard within the time to live
    that their last answer gave, ``collect(expired)`` at times, with what has been ``lost()`` for
    ``gc_threshold``, ``remember(beats)`` with when nodes were last heard, and ``mark()`` to have it
    kept that the process runs.

    ``last_heard(node_id)`` returns when a node was last heard, or None when it is late no more.

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
    ) -> None:
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
        # The last answer before this start may have given more than the last beat that was written.
        usual = round(scaled_ttl(ttl, len(nodes), rate) * SECOND)
        for node_id, beat in nodes.items():
            given = beat._replace(ttl=max(beat.ttl, usual))
            self._deadlines.expect(node_id, given, time.monotonic())
        shortest = min([ttl, *(beat.ttl / SECOND for beat in nodes.values() if beat.ttl)])
        self._pause = min(PAUSE * shortest, PAUSE_MAXIMUM)
        # What was lost before this process started has been so for as long as the wall clock says.
        self._expiries = {each: self._expiry(each, is_old=True) for each in lost()}
        self.thread = OwnedThread("liveness", self._run, restarts=True)
        self.thread.start()

    def beat(self, node_id: str) -> tuple[float, bool]:
        """Note that a node was heard. Return within how many seconds it must be heard again, and
        whether it was late, so that it may have been written as down just now."""
        with self._wake:
            ttl = self.ttl
            beat = Beat(time.time_ns(), round(ttl * SECOND))
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
        """Expect nothing more of nodes that are gone."""
        steps = (step for committed in batch for step in committed.change.nodes)
        gone = [step.some.id for step in steps if step.after is None]
        with self._wake:
            for node_id in gone:
                if node_id not in new.nodes:
                    self._deadlines.forget(node_id)

    def missed(self, old: State, new: State) -> None:
        """Expect nothing more of nodes that are gone."""
        with self._wake:
            for node_id in old.nodes:
                if node_id not in new.nodes:
                    self._deadlines.forget(node_id)

    def close(self) -> None:
        """End the thread; when nodes were last heard, and this process ran, is written first."""
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
            is_well = self._do("silent nodes could not be marked as down", self._silence_late)
            if time.monotonic() >= sweep_at:
                self._do("what is lost could not be forgotten", self._collect_expired)
                sweep_at = time.monotonic() + sweep_every
            if time.monotonic() >= self._save_at:
                self._do(_SAVE_FAILED, self._save)
            pause = regular if is_well else max(regular, RETRY)

    def _do(self, failure: str, task: Callable[[], object]) -> bool:
        """Do a task; return whether it succeeded. One that fails is tried again later, whatever it
        failed of, and logged once for as long as it fails in the same way."""
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

    def _silence_late(self) -> None:
        now = time.monotonic()
        with self._wake:
            late = self._deadlines.late(now)
        if not late:
            return
        self._silence(late, partial(self._last_heard, now))
        with self._wake:
            for node_id in late:
                self._deadlines.drop(node_id, now)

    def _last_heard(self, now: float, node_id: str) -> int | None:
        with self._wake:
            return self._deadlines.late_since(node_id, now)

    def _save(self) -> None:
        """Write when nodes were last heard, if any was."""
        with self._wake:
            beats = self._deadlines.take_unsaved()
        if not beats:
            return
        self._save_at = time.monotonic() + max(SAVE_INTERVAL, len(beats) / SAVE_RATE)
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
        self._collect(expired)
        if expired:
            _log.info("forgot what was lost for too long", count=len(expired))

    def _expiry(self, lost: Lost, *, is_old: bool) -> float:
        """Return when a lost item is to be forgotten, in seconds of the monotonic clock.

        After a restart only the wall clock knows how long it has been lost, so that time is taken
        within bounds.
        """
        left = self._gc_threshold
        if is_old:
            age = (time.time_ns() - lost.since) / SECOND
            at_least = min(_KEPT_AFTER_RESTART, self._gc_threshold)
            left = min(max(self._gc_threshold - age, at_least), self._gc_threshold)
        return time.monotonic() + left
