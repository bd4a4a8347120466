"""Counts the probes that agents report.

Each report and heartbeat of an agent has how many probes there were since its start. Here only what
came after the first that is heard of an agent's run is counted: a server that is restarted would
otherwise count the probes of months at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from plugind.model import Committed
from plugind.model.probes import NO_PROBES, Probes
from plugind.model.times import SECOND
from plugind.state import State
from plugind.tally import Tally

Reported = Mapping[str, Probes]
"""The probes since the start of an agent, by plugin type."""


class ProbeCounter:
    """Tallies of ``durations`` and ``failures`` by plugin type, one of ``types``.

    Safe for threads. A subscriber of the feed, from which it learns which nodes are gone.
    """

    def __init__(self, types: Iterable[str]) -> None:
        known = [(type_,) for type_ in types]
        self.durations = Tally(known=known)
        self.failures = Tally(known=known)
        self._types = {type_ for (type_,) in known}
        self._heard: dict[str, tuple[str, Reported]] = {}
        self._lock = threading.Lock()

    def hear(self, node_id: str, run_id: str, reported: Reported) -> None:
        """Count the probes since the last report or heartbeat of the same run of an agent."""
        with self._lock:
            last_run, last = self._heard.get(node_id, ("", None))
            now = {type_: each for type_, each in reported.items() if type_ in self._types}
            if now:
                self._heard[node_id] = run_id, now
        if last is not None and last_run == run_id:
            for type_, each in now.items():
                self._count(type_, each, last.get(type_, NO_PROBES))

    def _count(self, type_: str, now: Probes, last: Probes) -> None:
        if now.number < last.number:
            last = NO_PROBES  # the agent began at 0 again, after a reload
        if (count := now.number - last.number) > 0:
            seconds = max(0, now.time - last.time) / SECOND
            self.durations.add((type_,), seconds / count, times=count)
        if (failures := now.failures - last.failures) > 0:
            self.failures.add((type_,), times=failures)

    def follow(self, old: State, new: State, batch: Sequence[Committed]) -> None:
        """Forget nodes that are gone."""
        steps = (step for committed in batch for step in committed.change.nodes)
        gone = [step.some.id for step in steps if step.after is None]
        with self._lock:
            for node_id in gone:
                self._heard.pop(node_id, None)

    def missed(self, old: State, new: State) -> None:
        """Forget nodes that are gone."""
        with self._lock:
            self._heard = {id_: each for id_, each in self._heard.items() if id_ in new.nodes}
