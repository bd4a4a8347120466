"""Runs a prober: finds its targets, probes each in a thread of its own, and reports changes.

This is the main work of a prober's process. The core decides when to probe and how long to wait, so
that a target that hangs delays no other, and no plugin type needs to know of schedules.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from itertools import count
from types import MappingProxyType
from typing import Any, NoReturn

from plugind import logs
from plugind.agent import protocol
from plugind.agent.bounds import TARGETS_MAXIMUM, Room
from plugind.agent.prober.counter import ProbeCounter
from plugind.agent.prober.health_filter import HealthFilter, Instances
from plugind.agent.prober.results import Checked, clean, examine, keys_of, targets_of
from plugind.agent.prober.target import PAUSE, SLACK, Target, text_of
from plugind.agent.protocol import Alive, Message, Targets, Trouble
from plugind.errors import ProbeFailed
from plugind.plugin_type import Prober, Schedule, Settings

NAME_MAXIMUM = 256
"""Characters of a target's name."""

ALIVE_INTERVAL = 1.0
DISCOVER_INTERVAL = 1.0

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
        self._targets: dict[str, Target] = {}  # replaced, never changed: two threads read it
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
                problem, error = f"discover failed: {text_of(raised)}", raised
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

    def _close(self, known: Target) -> None:
        try:
            self._prober.close(known.target)
        except BaseException:
            _log.warning("closing a target failed", target=known.name, exc_info=True)

    def _open(self, name: str, target: Any, before: Target | None) -> None:
        settings = self._schedule(name, target).over(self._settings)
        health_filter = HealthFilter(
            settings, before.health_filter if before else None, self._shown.get(name, {})
        )
        named, problems = self._named(name, target)
        new = Target(
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
            named, problems = frozenset(), (f"instances_of failed: {text_of(error)}",)
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

    def _probe(
        self, target: Any, last: dict[protocol.Key, Checked]
    ) -> tuple[dict[protocol.Key, dict[str, Any]], tuple[str, ...]]:
        result = self._prober.probe(target)
        return examine(result, self._roles, self._settings.max_instances, last)
