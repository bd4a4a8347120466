"""Runs a prober: finds its targets, probes each in a thread of its own, tells what changed.

This is what a prober's process does all day. The core owns when to probe and how long to wait, so
a target that hangs delays no other, and no plugin type needs to know of schedules.
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
from plugind.agent import lines
from plugind.agent.bounds import TARGETS_MAXIMUM, Room
from plugind.agent.findings import clean, examine
from plugind.agent.judging import Instances, Judge
from plugind.agent.lines import Alive, BadLine, Failed, Found, Message, Targets, Trouble
from plugind.errors import ProbeFailed
from plugind.fields import SECOND, format_duration
from plugind.plugin_type import Prober, Schedule, Settings

NAME_MAXIMUM = 256
"""Characters of a target's name."""

ALIVE_INTERVAL = 1.0
DISCOVER_INTERVAL = 1.0
ABSENCE = 1.0  # a clock that is so late was stopped (SIGSTOP), and what it looks after as well
SLACK = 0.2  # for a probe that keeps its time itself and has to come back with why it failed
PAUSE = 0.02  # between two looks, so that a flood of changed() is no busy loop

_log = logs.get("prober")


class Probing:
    """Runs ``prober`` and hands messages to ``send``, which is called from many threads.

    ``roles`` are those of the plugin type. ``before`` makes a prober of the settings before a
    reload: what it finds and ``prober`` does not has been taken out of the configuration. ``shown``
    has by target what is shown of it, which counts as what its last probe found.
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
        self._names: frozenset[str] | None = None
        self._opened = threading.Event()  # a target that the clock does not know of yet
        self._look_again = threading.Event()
        self._looking_since: float | None = None
        self._complaint = ""
        self._room = Room(settings.max_instances)
        self._trouble = ""

    def run(self) -> NoReturn:
        """Probes until the process ends; the calling thread keeps the time."""
        for job in (self._discover_forever, self._watch):
            threading.Thread(target=job, name=job.__name__, daemon=True).start()
        for number in count():
            self._send(Alive(number))
            self._tell_trouble()
            self._keep_time(time.monotonic() + ALIVE_INTERVAL)
        raise AssertionError("count() has no end")

    def _tell_trouble(self) -> None:
        """Tells the agent what is wrong with the type as a whole, when that is news."""
        room = self._room.trouble
        trouble = "; ".join(filter(None, (self._complaint, room)))
        if trouble != self._trouble:
            if room and room not in self._trouble:
                _log.warning(room)
            self._trouble = trouble
            self._send(Trouble(trouble))

    def changed(self, name: str | None) -> None:
        """Probes that target at once, or looks for targets; a name unknown so far may be new."""
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
        """Tells of probes, and of a discover, that take too long."""
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
                flaw, error = self._look(), None
            except BaseException as raised:
                flaw, error = f"discover failed: {_told(raised)}", raised
            self._looking_since = None
            self._complain(flaw, error)
            time.sleep(PAUSE)
            self._look_again.wait(DISCOVER_INTERVAL - PAUSE)

    def _complain(self, text: str, error: BaseException | None = None) -> None:
        if text and text != self._complaint:
            _log.warning(text, exc_info=error)
        self._complaint = text

    def _look(self) -> str:
        """Takes the targets with good names, as many as there may be; returns what is wrong."""
        found = self._prober.discover()
        good = sorted(name for name in found if _is_name(name))
        self._adopt({name: found[name] for name in good[:TARGETS_MAXIMUM]})
        if len(good) > TARGETS_MAXIMUM:
            return f"of {len(good):,} targets only the first {TARGETS_MAXIMUM:,} are taken"
        if len(good) < len(found):
            return f"{len(found) - len(good)} targets have no name of usable length"
        return ""

    def _adopt(self, found: Mapping[str, Any]) -> None:
        """Closes the targets that are gone or changed, and opens those that are new."""
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
        if self._names != names:
            self._names = names
            self._send(Targets(names, self._dropped(names)))
        for known in closed.values():
            self._close(known)
        for name in sorted(found.keys() - kept.keys()):
            self._open(name, found[name], closed.get(name))
        self._shown = {}  # of what comes later nothing is known

    def _dropped(self, names: frozenset[str]) -> frozenset[str]:
        """What only the settings before find. Asked now, so that what just happens to be away is
        not among it."""
        before, self._before = self._before, None
        try:
            earlier = before() if before else None
            return frozenset(earlier.discover()) - names if earlier else frozenset()
        except BaseException:
            _log.warning("what the settings before found is not known", exc_info=True)
            return frozenset()

    def _close(self, known: _Target) -> None:
        try:
            self._prober.close(known.target)
        except BaseException:
            _log.warning("closing a target failed", target=known.name, exc_info=True)

    def _open(self, name: str, target: Any, before: _Target | None) -> None:
        settings = self._schedule(name, target).over(self._settings)
        judge = Judge(settings, before.judge if before else None, self._shown.get(name, {}))
        new = _Target(name, target, settings, judge, self._probe, self._send, self._room)
        threading.Thread(target=new.run, name=f"probe {name}", daemon=True).start()
        self._targets = {**self._targets, name: new}
        self._opened.set()

    def _schedule(self, name: str, target: Any) -> Schedule:
        try:
            return self._prober.schedule(target)
        except BaseException:
            _log.warning("a target is probed like the others", target=name, exc_info=True)
            return Schedule()

    def _probe(self, target: Any) -> tuple[dict[lines.Key, dict[str, Any]], tuple[str, ...]]:
        return examine(self._prober.probe(target), self._roles, self._settings.max_instances)


_Probe = Callable[[Any], tuple[dict[lines.Key, dict[str, Any]], tuple[str, ...]]]


class _Target:
    """One target: its thread probes it, and the clock's thread looks whether that takes too long.

    ``probe`` returns what it found and what was wrong with the rest.
    """

    def __init__(
        self,
        name: str,
        target: Any,
        settings: Settings,
        judge: Judge,
        probe: _Probe,
        send: Callable[[Message], None],
        room: Room,
    ) -> None:
        self.name = name
        self.target = target
        self.judge = judge
        self.wake = threading.Event()
        self._settings = settings
        self._probe = probe
        self._send = send
        self._room = room
        self._lock = threading.Lock()  # what is told of a target is told in order
        self._shut = False
        self._limit = settings.probe_timeout + SLACK
        self._started: float | None = None
        self._overdue_at = 0.0
        self._overdue = False
        self._excused = False
        self._told = b""
        self._flaws: tuple[str, ...] = ()

    def run(self) -> None:
        """Probes now, then at every interval and whenever woken, until shut."""
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
                return  # it has failed already: what comes too late is no answer
            if took > self._limit + ABSENCE:
                self.wake.set()  # it was stopped meanwhile, which says nothing: ask again
                return
            self._tell(self.judge.judge(outcome, took))

    def shut(self) -> None:
        """Nothing is told of the target from here on, even if its thread hangs and comes back."""
        with self._lock:
            self._shut = True
        self.wake.set()

    def check(self, now: float) -> float:
        """Tells of a probe that is overdue; returns when to check again, at the earliest.

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
                failed = Failed(self.name, time.time_ns(), f"no answer within {limit}")
                self._tell(self.judge.judge(failed, now - self._started))
                self._overdue = True
                self._overdue_at = now + max(self._settings.probe_interval, self._limit)
            return self._overdue_at

    def _outcome(self) -> Found | Failed:
        """Probes once. Whatever a probe raises, SystemExit too, must not end its thread."""
        try:
            found, flaws = self._probe(self.target)
        except ProbeFailed as error:
            return Failed(self.name, time.time_ns(), clean(str(error)) or "its probe failed")
        except BaseException as error:
            self._complain((_told(error),), error)
            return Failed(self.name, time.time_ns(), _told(error))
        self._complain(flaws)
        return Found(self.name, time.time_ns(), found)

    def _complain(self, flaws: tuple[str, ...], error: BaseException | None = None) -> None:
        if flaws and flaws != self._flaws:
            shown = "; ".join(flaws[:10])
            _log.warning("bad probe", target=self.name, flaws=shown, exc_info=error)
        self._flaws = flaws

    def _tell(self, outcome: Found | Failed) -> None:
        if self._shut:
            return
        try:
            lines.encode(outcome)
        except BadLine as error:
            outcome = Failed(self.name, time.time_ns(), f"what probe returned is too much: {error}")
        outcome = self._room.admit(outcome)
        same_but_for_the_time = lines.encode(replace(outcome, time=0))
        if same_but_for_the_time != self._told:
            self._told = same_but_for_the_time
            self._send(outcome)


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) <= NAME_MAXIMUM


def _told(error: BaseException) -> str:
    try:
        return clean(f"{type(error).__name__}: {error}")
    except Exception:
        return type(error).__name__  # even its text can be broken
