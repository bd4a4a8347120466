"""Probes one driver, and finds the process behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from plugin_types.csi import facts, nomad
from plugin_types.csi.driver import PROBE, Driver, Refusal
from plugin_types.csi.facts import Facts
from plugin_types.csi.finding import Target
from plugin_types.csi.nomad import Task
from plugin_types.csi.roles import ROLES
from plugin_types.csi.settings import CsiSettings
from plugin_types.csi.sockets import hangs, unreachable
from plugind.fields import SECOND, format_duration
from plugind.toolbox import processes

_RECONNECT_TIMEOUT = 1.0
_NO_TASK = Task()


@dataclass(frozen=True)
class Behind:
    """The process behind a socket (None if it was not found), and its task in Nomad.

    ``mounted`` are the plugin ID and the roles that its mounts show; None if they show none.
    """

    process: processes.Description | None = None
    task: Task = _NO_TASK
    mounted: tuple[str, frozenset[str]] | None = None


_NOTHING_BEHIND = Behind()


@dataclass(frozen=True)
class Examination:
    """The result of one probe of a socket.

    ``problem`` says why the whole driver is unhealthy, "" if it is not; ``facts`` are the last
    facts about the driver; ``problems`` says, by role, why that half is unhealthy.
    """

    problem: str
    listens: bool = False
    facts: Facts | None = None
    problems: Mapping[str, str] | None = None
    behind: Behind = _NOTHING_BEHIND

    def problem_of(self, role: str) -> str:
        """Return why that half is unhealthy; "" if it is not."""
        return self.problem or (self.problems or {}).get(role, "")

    @property
    def healthy(self) -> bool:
        """Return whether at least one half is healthy."""
        roles = self.facts.details if self.facts else ()
        return not self.problem and any(not self.problem_of(role) for role in roles)


class Examiner:
    """Probes one target and remembers the facts about its driver.

    ``changed`` requests an immediate probe. ``facts`` are those of the driver that was there
    before.
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
        layout = target.layout
        asked = {target.role} if target.role else (layout and layout.roles) or ROLES
        self._roles = tuple(role for role in ROLES if role in asked)
        self._facts = facts
        self._refresh_at = 0.0  # by the monotonic clock; a time in the past means: make all calls
        self._given_up = False
        self._listens = True
        self._behind = _NOTHING_BEHIND
        self._epoch: object | None = None  # of the connection whose process was looked up
        self._driver = Driver(target.path, self._on_lost)

    def examine(self) -> Examination:
        """Return the condition of the driver, within the target's time-out."""
        self._listens = True
        problem = self._ask(time.monotonic() + self._timeout)
        self._look_behind(problem)
        refusals = self._facts.refusals if self._facts else {}
        found = Examination(
            problem,
            self._listens,
            self._facts,
            {role: self._text_of(refusal) for role, refusal in refusals.items()},
            self._behind,
        )
        self._given_up = not found.healthy
        if problem or refusals or not found.healthy:
            self._refresh_at = 0.0
        return found

    @property
    def facts(self) -> Facts | None:
        """Return the last facts about the driver."""
        return self._facts

    def close(self) -> None:
        self._driver.close()

    def _on_lost(self) -> None:
        """Request a probe, because the driver died, or makes room for another version.

        A driver that is already unhealthy gets no such probe: it may drop every connection, and
        must not be probed without a pause.
        """
        self._refresh_at = 0.0
        if not self._given_up:
            self._changed()

    def _look_behind(self, problem: str) -> None:
        """Find the process, once per connection: a driver that restarts has a new process."""
        epoch = self._driver.epoch
        if epoch is None and problem:
            self._behind = _NOTHING_BEHIND
        elif epoch is None or epoch is not self._epoch:
            self._behind = _behind(self._target)
        self._epoch = epoch

    def _ask(self, deadline: float) -> str:
        """Ask the driver, and learn the facts about it; return why it is not healthy, "" if it is.

        All calls are made at once, so a driver that takes almost the whole time-out for each call
        is still healthy.
        """
        now = time.monotonic()
        ask_all = now >= self._refresh_at
        calls = (PROBE, *(facts.calls_for(self._roles) if ask_all else ()))
        if ask_all:
            self._refresh_at = now + self._refresh_interval
        answers = self._driver.ask(calls, deadline - now)
        if _is_unavailable(answers[PROBE]):
            if problem := self._unreachable():
                return problem
            # A connected driver may itself answer UNAVAILABLE because of a service behind it.
            if not self._driver.connected:
                self._driver.reconnect(_left(deadline, _RECONNECT_TIMEOUT))
                answers = self._driver.ask(calls, _left(deadline))
                if _is_unavailable(answers[PROBE]) and not self._driver.connected:
                    hung = self._unreachable() or hangs(self._target.path)
                    return hung or self._strange("does not speak gRPC")
        problem = self._verdict(answers)
        return self._learn(answers, problem) if ask_all else problem

    def _unreachable(self) -> str:
        problem = unreachable(self._target.path)
        self._listens = not problem
        return problem

    def _verdict(self, answers: Mapping[str, Any]) -> str:
        """Return the problem that the answer to Probe shows; "" if it shows none.

        An absent ``ready`` counts as true (CSI, Probe).
        """
        probe = answers[PROBE]
        if isinstance(probe, Refusal):
            if len(answers) > 1 and facts.is_not_csi(answers):
                return self._strange("speaks gRPC but has no service csi.v1.Identity")
            if len(answers) > 1 and facts.lacks_identity(answers):
                return "the driver has no Identity service (csi.v1.Identity)"
            return self._text_of(probe)
        if probe.HasField("ready") and not probe.ready.value:
            return "the driver says it is not ready"
        return ""

    def _learn(self, answers: Mapping[str, Any], problem: str) -> str:
        read = facts.read(answers, self._roles)
        if isinstance(read, Refusal):
            return problem or self._text_of(read)
        # An unhealthy driver may refuse a call that it answered when it was healthy.
        if not (problem and read.refusals):
            self._facts = read
        return problem or ("" if read.name else "the driver gives itself no name")

    def _text_of(self, refusal: Refusal) -> str:
        if not refusal.late:
            return str(refusal)
        limit = format_duration(round(self._timeout * SECOND))
        if self._driver.connected:
            return f"no answer to {refusal.call} within {limit} (the driver hangs)"
        return hangs(self._target.path) or (
            f"no answer to {refusal.call} within {limit}: "
            f"the server on {self._target.path} hangs, or does not speak gRPC"
        )

    def _strange(self, what: str) -> str:
        return f"the server on {self._target.path} is not a CSI driver: it {what}"


def _behind(target: Target) -> Behind:
    found = processes.pid_behind_socket(target.path)
    if target.layout is None:
        return Behind(found and found[1])
    if found is None:
        return Behind(None, Task(alloc_id=target.layout.alloc_id))
    pid, process = found
    task = nomad.task_of(pid, target.layout)
    mounted = nomad.mounts_of(pid, target.layout.alloc_id) if target.layout.alloc_id else None
    return Behind(nomad.described(process, task), task, mounted)


def _is_unavailable(answer: Any) -> bool:
    return isinstance(answer, Refusal) and answer.code is grpc.StatusCode.UNAVAILABLE


def _left(deadline: float, maximum: float = float("inf")) -> float:
    return min(maximum, max(0.0, deadline - time.monotonic()))
