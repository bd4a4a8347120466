"""Puts a plugin type's prober on trial: in the process that an agent would start, with a server.

The actors join the prober's own targets: five that misbehave and one that does not
(``plugind.testing.actors``). The outcome is evidence for the rules.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from plugind import __version__
from plugind.agent.backoff import Backoff
from plugind.agent.prober.target import SLACK
from plugind.agent.report import report
from plugind.agent.state import TypeState
from plugind.agent.supervisor.supervisor import START_MAXIMUM, Supervisor
from plugind.errors import ClientError
from plugind.model import PluginKey
from plugind.plugin_type import PluginType
from plugind.testing.actors import BEHAVIOURS, PREFIX, STEADY
from plugind.testing.serving import LiveServer, live_server

PATIENCE = 10.0
"""Seconds that a trial may take in addition to the time limit of one of the type's own probes."""

_LOOK_EVERY = 0.05
_ENDS_MAXIMUM = 2  # a process that ends again after a restart will keep ending
_BACKOFF = Backoff(0.05, 0.1)


@dataclass(frozen=True)
class Call:
    """One call of the prober. ``took`` are the seconds until it ended, or so far."""

    name: str
    target: str
    took: float
    ended: bool
    error: str

    def __str__(self) -> str:
        return f"{self.name} of {self.target}" if self.target else self.name


@dataclass(frozen=True)
class Evidence:
    """The outcome of a trial: the state of the type's targets, the notes of its process, how often
    the process ended, and the server's answers.

    ``taken`` is the monotonic time of this evidence; ``limit`` is how many seconds a call may take.
    """

    state: TypeState
    notes: Sequence[Mapping[str, Any]]
    taken: float
    limit: float
    ends: int = 0
    rejected: Sequence[Mapping[str, Any]] = ()
    answers: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def calls(self) -> list[Call]:
        """Return every call of the type's own prober."""
        ends = {note["number"]: note for note in self.notes if "took" in note}
        return [
            self._call(note, ends.get(note["number"])) for note in self.notes if "began" in note
        ]

    def _call(self, begin: Mapping[str, Any], end: Mapping[str, Any] | None) -> Call:
        if end is None:
            so_far = self.taken - begin["began"]
            return Call(begin["call"], begin["target"], so_far, ended=False, error="")
        return Call(begin["call"], begin["target"], end["took"], ended=True, error=end["error"])

    @property
    def targets(self) -> int:
        """Return the largest number of targets of its own that the prober found at once."""
        return max((note["count"] for note in self.noted("targets")), default=0)

    def noted(self, call: str) -> list[Mapping[str, Any]]:
        return [note for note in self.notes if note.get("call") == call]

    def shown(self, behaviour: str) -> dict[str, Mapping[str, Any]]:
        """Return the fingerprints that are shown of an actor now, by role."""
        target = self.state.targets.get(PREFIX + behaviour)
        given = target.shown if target else {}
        return {role: shown.fingerprint for (_, role), shown in given.items()}


def try_out(type_: PluginType, block: Mapping[str, Any], timeout: float, folder: Path) -> Evidence:
    """Return the evidence from a trial of a registered type with that block of settings.

    Its probes may take ``timeout`` seconds.
    """
    notes = folder / "notes"
    notes.touch()
    limit = timeout + SLACK
    with _running(type_.name, block, notes) as supervisor:
        evidence = _watched(supervisor, notes, limit)
    with live_server(plugin_types_enabled=type_.name) as server:
        return _reported(type_, evidence, server)


def _watched(supervisor: Supervisor, notes: Path, limit: float) -> Evidence:
    """Return the evidence once the trial is over or has used up its time.

    The time counts from the moment when the prober is made, because a busy machine may take long to
    start a process.
    """
    pids: set[int] = set()
    deadline = time.monotonic() + START_MAXIMUM
    is_made = False
    while True:
        now = time.monotonic()
        pids |= {supervisor.pid} if supervisor.pid else set()
        ends = sum(not Path(f"/proc/{pid}").exists() for pid in pids)
        whole, _, _ = notes.read_text().rpartition("\n")  # the last line may be incomplete
        noted = [json.loads(line) for line in whole.splitlines()]
        evidence = Evidence(supervisor.state, noted, now, limit, ends)
        if evidence.calls and not is_made:
            deadline, is_made = now + PATIENCE + limit, True
        if _is_over(evidence) or now > deadline:
            return evidence
        time.sleep(_LOOK_EVERY)


@contextmanager
def _running(name: str, block: Mapping[str, Any], notes: Path) -> Iterator[Supervisor]:
    command = [sys.executable, "-P", "-m", "plugind.testing.child", name, str(notes)]
    supervisor = Supervisor(name, command, block, lambda: None, backoff=_BACKOFF)
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()


def _is_over(evidence: Evidence) -> bool:
    """Return whether every actor has shown its behaviour, or none can any more."""
    if evidence.ends >= _ENDS_MAXIMUM:
        return True
    return evidence.state.complete and all(
        (shown := evidence.shown(behaviour))
        and all(one["Healthy"] is (behaviour == STEADY) for one in shown.values())
        for behaviour in BEHAVIOURS
    )


def _reported(type_: PluginType, evidence: Evidence, server: LiveServer) -> Evidence:
    """Return the evidence, with the server's answers to the report and to reads."""
    node_id = str(uuid.uuid4())
    origin = report.Origin(node_id, "on-trial", "dc1", __version__, "on-trial")
    body = report.build(origin, {type_.name: evidence.state})
    client = server.client
    try:
        rejected = client.report(node_id, "a secret", body)["Rejected"]
    except ClientError as error:
        answers = dict.fromkeys(BEHAVIOURS, f"its node's report is refused: {error}")
        return replace(evidence, answers=answers)
    answers = {}
    for behaviour in BEHAVIOURS:
        id = PREFIX + behaviour
        try:
            answers[behaviour] = client.plugin(type_.name, id).value
            if server.services.catalogue.plugin(PluginKey(type_.name, id)).is_degraded:
                text = "only the core's fields, for the type's code failed or hangs (see the log)"
                answers[behaviour] = f"reading {type_.name}/{id} gives: {text}"
        except ClientError as error:
            answers[behaviour] = f"reading {type_.name}/{id} gives: {error}"
    return replace(evidence, rejected=rejected, answers=answers)
