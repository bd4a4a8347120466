"""Fingerprints the CSI drivers of this machine."""

from __future__ import annotations

import glob
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import grpc

from plugin_types.csi import facts
from plugin_types.csi.driver import PROBE, Driver, Refusal
from plugin_types.csi.facts import Facts
from plugin_types.csi.roles import ROLES
from plugin_types.csi.settings import CsiSettings
from plugin_types.csi.sockets import (
    Target,
    find_targets,
    folders_to_watch,
    plugin_id,
    too_long,
    unreachable,
)
from plugind.fields import SECOND, format_duration
from plugind.plugin_type import ANY_ROLE, Prober, Schedule
from plugind.toolbox import processes
from plugind.toolbox.folders import watch_forever

Findings = dict[tuple[str, str], dict[str, Any]]

REMEMBERED_MAXIMUM = 1_000
"""Drivers that are gone and of which it is still known what they were."""

_RECONNECT_TIMEOUT = 1.0
_SERVICES = {role: role.capitalize() for role in ROLES}


class CsiProber(Prober):
    """Finds sockets, and keeps a connection to the driver behind each."""

    def __init__(self, settings: CsiSettings) -> None:
        self._settings = settings
        self._changed: Callable[[str | None], None] = lambda name: None
        self._lock = threading.Lock()
        self._found: frozenset[Target] = frozenset()
        self._examiners: dict[Target, Examiner] = {}
        self._remembered: dict[str, Facts] = {}

    def discover(self) -> Mapping[str, Target]:
        targets = find_targets(self._settings)
        with self._lock:
            self._found = frozenset(targets.values())
        return targets

    def schedule(self, target: Target) -> Schedule:
        return target.schedule

    def watch(self, changed: Callable[[str | None], None]) -> None:
        self._changed = changed
        endpoints = (block.endpoint for block in self._settings.instance.values())
        patterns = (*self._settings.sockets, *map(glob.escape, endpoints))
        if patterns:
            watch_forever(lambda: folders_to_watch(patterns), partial(changed, None))

    def probe(self, target: Target) -> Findings:
        if problem := too_long(target.path):
            return _unknown(target, target.id, problem)
        with self._lock:
            examiner = self._examiners.get(target)
            if examiner is None:
                if target not in self._found:
                    return {}  # it was closed just now: opened again, nobody would close it
                examiner = Examiner(
                    target,
                    self._settings,
                    lambda: self._changed(target.path),
                    self._remembered.pop(target.path, None),
                )
                self._examiners[target] = examiner
        return examiner.probe()

    def close(self, target: Target) -> None:
        with self._lock:
            examiner = self._examiners.pop(target, None)
            if examiner and examiner.facts:
                self._remember(target.path, examiner.facts)
        if examiner:
            examiner.close()

    def _remember(self, path: str, facts: Facts) -> None:
        """What comes back under a path is taken for what was there, until it says what it is."""
        self._remembered[path] = facts
        if len(self._remembered) > REMEMBERED_MAXIMUM:
            del self._remembered[next(iter(self._remembered))]


class Examiner:
    """Probes one target and remembers what its driver is; ``changed`` asks for a probe at once.

    ``facts`` are those of the driver that was there before.
    """

    def __init__(
        self,
        target: Target,
        settings: CsiSettings,
        changed: Callable[[], None],
        facts: Facts | None = None,
    ) -> None:
        self._target = target
        self._refresh_interval = settings.refresh_interval
        self._timeout = target.schedule.over(settings).probe_timeout
        self._changed = changed
        self._roles = (target.role,) if target.role else tuple(ROLES)
        self._facts = facts
        self._refresh_at = 0.0  # by the monotonic clock; the past: ask everything
        self._given_up = False
        self._process: processes.Description | None = None
        self._epoch: object | None = None  # of the connection at which the process was looked up
        self._driver = Driver(target.path, self._on_lost)

    def probe(self) -> Findings:
        deadline = time.monotonic() + self._timeout
        problem = self._examine(deadline)
        self._look_behind(problem)
        findings = self._findings(problem)
        healthy = [fingerprint["Healthy"] for fingerprint in findings.values()]
        self._given_up = not any(healthy)
        if not all(healthy):
            self._refresh_at = 0.0
        return findings

    @property
    def facts(self) -> Facts | None:
        """What the driver last said of itself."""
        return self._facts

    def close(self) -> None:
        self._driver.close()

    def _on_lost(self) -> None:
        """The driver died, or makes room for another version. Of a sick one that is no news, and
        one that drops every connection must not be probed without pause."""
        self._refresh_at = 0.0
        if not self._given_up:
            self._changed()

    def _look_behind(self, problem: str) -> None:
        """Finds the process, once for each connection: it is another when the driver restarts."""
        epoch = self._driver.epoch
        if epoch is None and problem:
            self._process = None
        elif epoch is None or epoch is not self._epoch:
            self._process = processes.behind_socket(self._target.path)
        self._epoch = epoch

    def _examine(self, deadline: float) -> str:
        """Asks the driver, and learns what it says of itself; returns why it is not healthy.

        Everything is asked at once, so that a driver that is slow to answer each call, but in
        time, is a healthy one.
        """
        now = time.monotonic()
        ask_all = now >= self._refresh_at
        calls = (PROBE, *(facts.calls_for(self._roles) if ask_all else ()))
        if ask_all:
            self._refresh_at = now + self._refresh_interval
        answers = self._driver.ask(calls, deadline - now)
        if _is_unavailable(answers[PROBE]):
            if problem := unreachable(self._target.path):
                return problem
            # A driver that is connected may itself say UNAVAILABLE, of what is behind it.
            if not self._driver.connected:
                self._driver.reconnect(_left(deadline, _RECONNECT_TIMEOUT))
                answers = self._driver.ask(calls, _left(deadline))
                if _is_unavailable(answers[PROBE]) and not self._driver.connected:
                    return unreachable(self._target.path) or self._strange("does not speak gRPC")
        problem = self._verdict(answers)
        return self._learn(answers, problem) if ask_all else problem

    def _verdict(self, answers: Mapping[str, Any]) -> str:
        """What the answer to Probe means; an absent ``ready`` is a true one (CSI, Probe)."""
        probe = answers[PROBE]
        if isinstance(probe, Refusal):
            if len(answers) > 1 and facts.is_not_csi(answers):
                return self._strange("speaks gRPC but has no service csi.v1.Identity")
            return self._told(probe)
        if probe.HasField("ready") and not probe.ready.value:
            return "the driver says it is not ready"
        return ""

    def _learn(self, answers: Mapping[str, Any], problem: str) -> str:
        read = facts.read(answers, self._roles)
        if isinstance(read, Refusal):
            return problem or self._told(read)
        # A driver that is not healthy may refuse for that reason what it told before.
        if not (problem and read.flaws):
            self._facts = read
        return problem

    def _told(self, refusal: Refusal) -> str:
        if not refusal.late:
            return str(refusal)
        limit = format_duration(round(self._timeout * SECOND))
        if self._driver.connected:
            return f"no answer to {refusal.call} within {limit} (the driver hangs)"
        return (
            f"no answer to {refusal.call} within {limit}: "
            f"what listens on {self._target.path} hangs, or is no gRPC server"
        )

    def _strange(self, what: str) -> str:
        return f"what listens on {self._target.path} is no CSI driver: it {what}"

    def _findings(self, problem: str) -> Findings:
        known, id = self._facts, self._target.id
        if known and known.name and self._target.driver_names:
            id = plugin_id(known.name)
        process = {"Process": self._process}
        if known is None or not known.details:
            return _unknown(self._target, id, problem or self._lacking(), process)
        return {
            (id, role): _fingerprint(
                {**details, **process}, problem or self._flaw(known.flaws.get(role))
            )
            for role, details in known.details.items()
        }

    def _flaw(self, flaw: Refusal | None) -> str:
        return self._told(flaw) if flaw else ""

    def _lacking(self) -> str:
        if self._target.role:
            service = _SERVICES[self._target.role]
            return f"the driver has no {service} service, but configuration says it has"
        return "the driver has neither the Controller nor the Node service"


def _unknown(
    target: Target, id: str, problem: str, details: Mapping[str, Any] | None = None
) -> Findings:
    """What is said of a driver that has not told which halves it has."""
    return {(id, target.role or ANY_ROLE): _fingerprint(details or {}, problem)}


def _fingerprint(details: Mapping[str, Any], problem: str) -> dict[str, Any]:
    return {**details, "Healthy": not problem, "HealthDescription": problem or "healthy"}


def _is_unavailable(answer: Any) -> bool:
    return isinstance(answer, Refusal) and answer.code is grpc.StatusCode.UNAVAILABLE


def _left(deadline: float, maximum: float = float("inf")) -> float:
    return min(maximum, max(0.0, deadline - time.monotonic()))
