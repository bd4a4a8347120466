"""Counts the probes that agents report.

Each report and heartbeat of an agent has the number of probes since the agent's start. Only probes
after the first number received from an agent's run are counted: otherwise a restarted server would
count the probes of months at once. Two smaller numbers in a row mean that the agent began at 0
again, after a reload; a single smaller number arrived late, and its probes are counted already.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence

from plugind.model import Committed
from plugind.model.probes import NO_PROBES, Probes
from plugind.model.times import SECOND
from plugind.state import State
from plugind.tally import Tally

_SAME = SECOND // 2
"""Nanoseconds within which a heartbeat that is read from the store counts as one that this process
itself received."""

Reported = Mapping[str, Probes]
"""The probes since an agent's start, by plugin type."""


class ProbeCounter:
    """Tallies of ``durations`` and ``failures`` by plugin type, one of ``types``. Thread-safe.

    It subscribes to the feed, to learn which nodes are gone.
    """

    def __init__(self, types: Iterable[str]) -> None:
        known = [(type_,) for type_ in types]
        self.durations = Tally(known=known)
        self.failures = Tally(known=known)
        self._types = {type_ for (type_,) in known}
        self._heard: dict[str, tuple[str, Reported]] = {}
        self._smaller: dict[str, dict[str, Probes]] = {}
        self._at: dict[str, int] = {}
        self._lock = threading.Lock()

    def hear(self, node_id: str, run_id: str, reported: Reported) -> None:
        """Count the probes since the last report or heartbeat of the same run of an agent."""
        with self._lock:
            last_run, last = self._heard.get(node_id, ("", None))
            now = {type_: each for type_, each in reported.items() if type_ in self._types}
            if not now:
                return
            self._at[node_id] = time.time_ns()
            if last is None or last_run != run_id:
                self._heard[node_id] = run_id, now
                self._smaller.pop(node_id, None)
                return
            bases = {type_: self._base(node_id, type_, last, each) for type_, each in now.items()}
            newest = {type_: now[type_] for type_, base in bases.items() if base is not None}
            self._heard[node_id] = run_id, {**last, **newest}
        for type_, base in bases.items():
            if base is not None:
                self._count(type_, now[type_], base)

    def heard_elsewhere(self, node_id: str, at: int) -> None:
        """Note that some process of the server heard from a node at ``at``, in nanoseconds.

        If that was another process, it counts the node's probes from now on, so forget the node.
        """
        with self._lock:
            if at > self._at.get(node_id, at) + _SAME:
                self._forget(node_id)

    def _forget(self, node_id: str) -> None:
        for each in (self._heard, self._smaller, self._at):
            each.pop(node_id, None)

    def _base(self, node_id: str, type_: str, last: Reported, now: Probes) -> Probes | None:
        """Return the probes up to which ``now`` was counted already; None if that is not clear
        yet."""
        base = last.get(type_, NO_PROBES)
        smaller = self._smaller.get(node_id, {}).pop(type_, None)
        if now.number >= base.number:
            return base
        if smaller is not None and now.number > smaller.number:
            return smaller
        self._smaller.setdefault(node_id, {})[type_] = now
        return None

    def _count(self, type_: str, now: Probes, last: Probes) -> None:
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
                self._forget(node_id)

    def missed(self, old: State, new: State) -> None:
        """Forget nodes that are gone."""
        with self._lock:
            for node_id in self._heard.keys() - new.nodes.keys():
                self._forget(node_id)
