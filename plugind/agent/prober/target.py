"""Probes one target of a prober, in a thread of its own, and reports what changed of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from plugind import logs
from plugind.agent import protocol
from plugind.agent.bounds import Room
from plugind.agent.prober.counter import ProbeCounter
from plugind.agent.prober.health_filter import HealthFilter
from plugind.agent.prober.results import Checked, clean
from plugind.agent.protocol import BadLine, Failed, Found, Message
from plugind.errors import ProbeFailed
from plugind.model.times import SECOND, format_duration
from plugind.plugin_type import Settings

ABSENCE = 1.0  # a clock that is that late was stopped (SIGSTOP), and the probes with it
SLACK = 0.2  # for a probe that keeps its time itself and has to return the reason of its failure
PAUSE = 0.02  # between two looks, so that a flood of changed() does not become a busy loop

_log = logs.get("prober")

Probe = Callable[
    [Any, dict[protocol.Key, Checked]],
    tuple[dict[protocol.Key, dict[str, Any]], tuple[str, ...]],
]


class Target:
    """One target: its thread probes it, and the clock's thread checks whether that takes too long.

    ``probe`` returns the valid instances and the problems of the others. ``problems`` are those of
    the last probe that returned anything. ``named`` are the target's instances as far as its type
    can name them before a probe succeeds.
    """

    def __init__(
        self,
        name: str,
        target: Any,
        settings: Settings,
        health_filter: HealthFilter,
        probe: Probe,
        send: Callable[[Message], None],
        room: Room,
        counter: ProbeCounter,
        named: frozenset[protocol.Key] = frozenset(),
    ) -> None:
        self.name = name
        self.target = target
        self.health_filter = health_filter
        self.wake = threading.Event()
        self._settings = settings
        self._probe = probe
        self._send = send
        self._room = room
        self._counter = counter
        self._lock = threading.Lock()  # keeps the messages on a target in order
        self._shut = False
        self._limit = settings.probe_timeout + SLACK
        self._started: float | None = None
        self._overdue_at = 0.0
        self._overdue = False
        self._excused = False
        self._text_of = b""
        self._last: dict[protocol.Key, Checked] = {}
        self._given: Found | Failed | None = None
        self._reported: Found | Failed | None = None
        self._named = named
        self._complaint: tuple[str, ...] = ()
        self.problems: tuple[str, ...] = ()

    def run(self) -> None:
        """Probe now, then at every interval and whenever woken, until shut."""
        while not self._shut:
            started = self._begin()
            self._end(self._outcome(), time.monotonic() - started)
            time.sleep(PAUSE)
            self.wake.wait(max(0.0, started + self._settings.probe_interval - time.monotonic()))
            self.wake.clear()

    def _begin(self) -> float:
        with self._lock:
            self._started = started = time.monotonic()
            self._overdue = self._excused = False
            self._overdue_at = started + self._limit
        return started

    def _end(self, outcome: Found | Failed, took: float) -> None:
        with self._lock:
            self._started = None
            if self._overdue:
                return  # it has failed already: an answer that comes too late does not count
            if took > self._limit + ABSENCE:
                self.wake.set()  # it was stopped meanwhile, so its result means nothing: ask again
                return
            self._counter.add(outcome, took)
            self._report(self.health_filter.report(outcome, took))

    def shut(self) -> None:
        """Report nothing of the target from here on, even if its thread hangs and comes back."""
        with self._lock:
            self._shut = True
        self.wake.set()

    def check(self, now: float) -> float:
        """Report a probe that is overdue; return when to check again, at the earliest.

        One that never ends counts again whenever another would have ended in its place.
        """
        with self._lock:
            if self._started is None:
                return now + self._limit
            if now >= self._overdue_at + ABSENCE and not self._excused:
                self._excused = True
                self._overdue_at = now + self._limit
            if now >= self._overdue_at:
                limit = format_duration(round(self._settings.probe_timeout * SECOND))
                failed = self._failed(f"no answer within {limit}")
                self._counter.add(failed, self._limit)
                self._report(self.health_filter.report(failed, now - self._started))
                self._overdue = True
                self._overdue_at = now + max(self._settings.probe_interval, self._limit)
            return self._overdue_at

    def _outcome(self) -> Found | Failed:
        """Probe once. No exception of a probe, not even SystemExit, may end its thread."""
        try:
            found, problems = self._probe(self.target, self._last)
        except ProbeFailed as error:
            return self._failed(clean(str(error)) or "its probe failed")
        except BaseException as error:
            self._complain((text_of(error),), error)
            return self._failed(text_of(error))
        self._complain(problems)
        self.problems = problems
        return Found(self.name, time.time_ns(), found)

    def _failed(self, reason: str) -> Failed:
        return Failed(self.name, time.time_ns(), reason, self._named)

    def _complain(self, problems: tuple[str, ...], error: BaseException | None = None) -> None:
        if problems and problems != self._complaint:
            shown = "; ".join(problems[:10])
            _log.warning("bad probe", target=self.name, problems=shown, exc_info=error)
        self._complaint = problems

    def _report(self, outcome: Found | Failed) -> None:
        """Send an outcome if it differs from the last one. What a probe found again is not encoded
        again, for that is nearly all that an agent does."""
        if self._shut:
            return
        is_same = _is_same(outcome, self._given)
        self._given = outcome
        try:
            if not is_same:
                protocol.encode(outcome)
        except BadLine as error:
            self._given = None
            outcome = self._failed(f"what probe returned is too much: {error}")
        outcome = self._room.admit(outcome)
        if is_same and _is_same(outcome, self._reported):
            return
        self._reported = outcome
        same_but_for_the_time = protocol.encode(replace(outcome, time=0))
        if same_but_for_the_time != self._text_of:
            self._text_of = same_but_for_the_time
            self._send(outcome)


def _is_same(new: Found | Failed, old: Found | Failed | None) -> bool:
    """Return whether two outcomes of a target surely differ in their time at most: without a look
    into fingerprints, in which 1 and true would count as equal."""
    if not (isinstance(new, Found) and isinstance(old, Found)):
        return False
    return (
        new.beyond == old.beyond
        and new.instances.keys() == old.instances.keys()
        and all(new.instances[key] is old.instances[key] for key in new.instances)
    )


def text_of(error: BaseException) -> str:
    try:
        return clean(f"{type(error).__name__}: {error}")
    except Exception:
        return type(error).__name__  # even its text can be broken
