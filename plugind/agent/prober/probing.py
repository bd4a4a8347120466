"""Runs a prober: finds its targets, probes each in a thread of its own, and reports changes.

This is the main work of a prober's process. The core decides when to probe and how long to wait, so
that a target that hangs delays no other, and no plugin type needs to know of schedules.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from itertools import count
from types import MappingProxyType
from typing import Any, NoReturn

from plugind import logs
from plugind.agent import protocol
from plugind.agent.bounds import TARGETS_MAXIMUM, Room
from plugind.agent.prober.counter import ProbeCounter
from plugind.agent.prober.health_filter import HealthFilter, Instances
from plugind.agent.prober.results import clean, examine, keys_of, targets_of
from plugind.agent.protocol import Alive, BadLine, Failed, Found, Message, Targets, Trouble
from plugind.errors import ProbeFailed
from plugind.model.times import SECOND, format_duration
from plugind.plugin_type import Prober, Schedule, Settings

NAME_MAXIMUM = 256
"""Characters of a target's name."""

ALIVE_INTERVAL = 1.0
DISCOVER_INTERVAL = 1.0
ABSENCE = 1.0  # a clock that is that late was stopped (SIGSTOP), and the probes with it
SLACK = 0.2  # for a probe that keeps its time itself and has to return the reason of its failure
PAUSE = 0.02  # between two looks, so that a flood of changed() does not become a busy loop

_log = logs.get("prober")


class Probing:
    """Runs ``prober`` and hands messages to ``send``, which is called from many threads.

    ``roles`` are those of the plugin type. ``before`` makes a prober of the settings before a
    reload: targets that it finds and ``prober`` does not have been taken out of the configuration.
    ``shown`` has by target the fingerprints shown of it, which count as the result of its last
    probe.
    """

    def __init__(
        self,
        prober: Prober,
        settings: Settings,
        roles: Collection[str],
        send: Callable[[Message], None],
        before: Callable[[], Prober | None] | None = None,
        shown: Mapping[str, Instances] = MappingProxyType({}),
    ) -> None:
        self._before = before
        self._shown = shown
        self._prober = prober
        self._settings = settings
        self._roles = roles
        self._send = send
        self._limit = settings.probe_timeout + SLACK
        self._targets: dict[str, _Target] = {}  # replaced, never changed: two threads read it
        self._reported_targets: tuple[frozenset[str], frozenset[str]] | None = None
        self._opened = threading.Event()  # a target that the clock does not know of yet
        self._look_again = threading.Event()
        self._looking_since: float | None = None
        self._complaint = ""
        self._room = Room(settings.max_instances)
        self._counter = ProbeCounter()
        self._trouble = ""

    def run(self) -> NoReturn:
        """Probe until the process ends; the calling thread keeps the time."""
        for job in (self._discover_forever, self._watch):
            threading.Thread(target=job, name=job.__name__, daemon=True).start()
        for number in count():
            self._send(Alive(number, self._counter.probes))
            self._report_trouble()
            self._keep_time(time.monotonic() + ALIVE_INTERVAL)
        raise AssertionError("count() has no end")

    def _report_trouble(self) -> None:
        """Report the problems of the type as a whole to the agent, when they changed."""
        # Of the instances that probes returned with problems, the first few are named.
        found = {name: one.problems for name, one in sorted(self._targets.items()) if one.problems}
        words = [f"{name}: {'; '.join(found[name][:3])}" for name in list(found)[:3]]
        more = [f"and {len(found) - 3:,} more targets"] if len(found) > 3 else []
        room = self._room.trouble
        trouble = "; ".join(filter(None, (self._complaint, room, *words, *more)))
        if trouble != self._trouble:
            if room and room not in self._trouble:
                _log.warning(room)
            self._trouble = trouble
            self._send(Trouble(trouble))

    def changed(self, name: str | None) -> None:
        """Probe that target at once; look for targets if the name is None or unknown."""
        if name is not None and (known := self._targets.get(name)):
            known.wake.set()
        else:
            self._look_again.set()

    def _watch(self) -> None:
        try:
            self._prober.watch(self.changed)
        except BaseException:
            _log.warning("watch failed; changes are seen at the next look only", exc_info=True)

    def _keep_time(self, until: float) -> None:
        """Report probes, and a discover, that take too long."""
        while (now := time.monotonic()) < until:
            soonest = until
            for target in self._targets.values():
                soonest = min(soonest, target.check(now))
            if self._looking_since is not None and now > self._looking_since + self._limit:
                self._complain(f"discover has not answered within {self._settings.probe_timeout}s")
            self._opened.wait(max(0.0, soonest - now))
            self._opened.clear()

    def _discover_forever(self) -> None:
        while True:
            self._look_again.clear()
            self._looking_since = time.monotonic()
            try:
                problem, error = self._look(), None
            except ProbeFailed as why:
                problem, error = f"discover failed: {clean(str(why))}", None
            except BaseException as raised:
                problem, error = f"discover failed: {_text_of(raised)}", raised
            self._looking_since = None
            self._complain(problem, error)
            time.sleep(PAUSE)
            self._look_again.wait(DISCOVER_INTERVAL - PAUSE)

    def _complain(self, text: str, error: BaseException | None = None) -> None:
        if text and text != self._complaint:
            _log.warning(text, exc_info=error)
        self._complaint = text

    def _look(self) -> str:
        """Take the targets with valid names, up to the maximum; return the problem, or ""."""
        found = targets_of(self._prober.discover())
        good = sorted(
            name for name in found if isinstance(name, str) and 0 < len(name) <= NAME_MAXIMUM
        )
        self._adopt({name: found[name] for name in good[:TARGETS_MAXIMUM]})
        if len(good) > TARGETS_MAXIMUM:
            return f"of {len(good):,} targets only the first {TARGETS_MAXIMUM:,} are taken"
        if len(good) < len(found):
            return f"{len(found) - len(good)} targets have no name of usable length"
        return clean(self._prober.trouble())

    def _adopt(self, found: Mapping[str, Any]) -> None:
        """Close the targets that are gone or changed, and open those that are new."""
        kept = {
            name: known
            for name, known in self._targets.items()
            if name in found and known.target == found[name]
        }
        closed = {name: known for name, known in self._targets.items() if name not in kept}
        for name, known in closed.items():
            known.shut()
            if name not in found:
                self._room.leave(name)
        self._targets = kept
        names = frozenset(found)
        configured = frozenset(name for name in names if self._is_configured(name, found[name]))
        if self._reported_targets != (names, configured):
            self._reported_targets = names, configured
            self._send(Targets(names, self._dropped(names), configured))
        for known in closed.values():
            self._close(known)
        for name in sorted(found.keys() - kept.keys()):
            self._open(name, found[name], closed.get(name))
        self._shown = {}  # nothing is known of targets that come later

    def _dropped(self, names: frozenset[str]) -> frozenset[str]:
        """Return the names that only the settings before find.

        They are looked for now, so that a target that just happens to be away is not among them.
        """
        before, self._before = self._before, None
        try:
            earlier = before() if before else None
            return frozenset(earlier.discover()) - names if earlier else frozenset()
        except BaseException:
            _log.warning("the targets of the previous settings are not known", exc_info=True)
            return frozenset()

    def _close(self, known: _Target) -> None:
        try:
            self._prober.close(known.target)
        except BaseException:
            _log.warning("closing a target failed", target=known.name, exc_info=True)

    def _open(self, name: str, target: Any, before: _Target | None) -> None:
        settings = self._schedule(name, target).over(self._settings)
        health_filter = HealthFilter(
            settings, before.health_filter if before else None, self._shown.get(name, {})
        )
        named, problems = self._named(name, target)
        new = _Target(
            name,
            target,
            settings,
            health_filter,
            self._probe,
            self._send,
            self._room,
            self._counter,
            named,
        )
        new.problems = problems
        threading.Thread(target=new.run, name=f"probe {name}", daemon=True).start()
        self._targets = {**self._targets, name: new}
        self._opened.set()

    def _schedule(self, name: str, target: Any) -> Schedule:
        try:
            schedule = self._prober.schedule(target)
            if isinstance(schedule, Schedule):
                return schedule
            _log.warning(
                "a target is probed like the others: schedule must return a Schedule",
                target=name,
                returned=type(schedule).__name__,
            )
        except BaseException:
            _log.warning("a target is probed like the others", target=name, exc_info=True)
        return Schedule()

    def _named(self, name: str, target: Any) -> tuple[frozenset[protocol.Key], tuple[str, ...]]:
        """Return the instances of a target that its type can name before a probe succeeds, and the
        problems of the others."""
        try:
            maximum = self._settings.max_instances
            named, problems = keys_of(self._prober.instances_of(target), self._roles, maximum)
        except BaseException as error:
            named, problems = frozenset(), (f"instances_of failed: {_text_of(error)}",)
        if problems:
            _log.warning("bad instances_of", target=name, problems="; ".join(problems[:10]))
        return named, problems

    def _is_configured(self, name: str, target: Any) -> bool:
        try:
            return bool(self._prober.is_configured(target))
        except BaseException:
            if name not in self._targets:
                _log.warning("a target counts as not configured", target=name, exc_info=True)
            return False

    def _probe(self, target: Any) -> tuple[dict[protocol.Key, dict[str, Any]], tuple[str, ...]]:
        return examine(self._prober.probe(target), self._roles, self._settings.max_instances)


_Probe = Callable[[Any], tuple[dict[protocol.Key, dict[str, Any]], tuple[str, ...]]]


class _Target:
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
        probe: _Probe,
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
            found, problems = self._probe(self.target)
        except ProbeFailed as error:
            return self._failed(clean(str(error)) or "its probe failed")
        except BaseException as error:
            self._complain((_text_of(error),), error)
            return self._failed(_text_of(error))
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
        if self._shut:
            return
        try:
            protocol.encode(outcome)
        except BadLine as error:
            outcome = self._failed(f"what probe returned is too much: {error}")
        outcome = self._room.admit(outcome)
        same_but_for_the_time = protocol.encode(replace(outcome, time=0))
        if same_but_for_the_time != self._text_of:
            self._text_of = same_but_for_the_time
            self._send(outcome)


def _text_of(error: BaseException) -> str:
    try:
        return clean(f"{type(error).__name__}: {error}")
    except Exception:
        return type(error).__name__  # even its text can be broken
