"""Notices two agents that report as one node: a machine cloned with its agent's data_dir.

An agent draws a RunID at each start. A new RunID means a restart; one that returns after another
was seen means that both agents are alive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from plugind.model import Committed
from plugind.state import State

REMEMBERED = 16
"""RunIDs kept for each node."""


class Runs:
    """The RunIDs seen of each node. Safe for threads.

    A node counts as cloned until only one agent was heard for ``calm()`` seconds. The ``cloned``
    nodes counted as such when this process started, and do so for that long at least.
    """

    def __init__(
        self,
        calm: Callable[[], float],
        cloned: Iterable[str] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calm = calm
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, list[str]] = {}
        self._last: dict[str, int] = {}  # when each node was heard, by the wall clock
        self._returned = dict.fromkeys(cloned, clock())

    def seen(self, node_id: str, run_id: str) -> bool:
        """Note that a node was heard, from the agent of this RunID ("" if the agent gave none).
        Return whether the node counts as cloned."""
        with self._lock:
            self._last[node_id] = time.time_ns()
            return self._note(node_id, run_id)

    def seen_again(self, node_id: str, run_id: str) -> bool:
        """Note that a node was heard, if the agent is the same as last time and the node does not
        count as cloned; return whether that is so."""
        with self._lock:
            if node_id in self._returned or self._seen.get(node_id, [""])[-1] != run_id:
                return False
            self._last[node_id] = time.time_ns()
            return True

    def seen_elsewhere(self, node_id: str, run_id: str, at: int) -> None:
        """Note that another process heard a node at a time (nanoseconds since the epoch). A time
        that is not after the last known one is ignored."""
        with self._lock:
            if at > self._last.get(node_id, 0):
                self._last[node_id] = at
                self._note(node_id, run_id)

    def _note(self, node_id: str, run_id: str) -> bool:
        now = self._clock()
        runs = self._seen.get(node_id, [])
        if run_id in runs[:-1]:
            self._returned[node_id] = now
        if run_id and run_id not in runs[-1:]:
            others = [run for run in runs if run != run_id]
            self._seen[node_id] = [*others, run_id][-REMEMBERED:]
        returned = self._returned.get(node_id)
        if returned is not None and now - returned < self._calm():
            return True
        self._returned.pop(node_id, None)
        return False

    def follow(self, old: State, new: State, batch: Sequence[Committed]) -> None:
        """Forget what was seen of nodes that are gone; note those that another process found to be
        cloned."""
        steps = [step for committed in batch for step in committed.change.nodes]
        with self._lock:
            for step in steps:
                node_id = step.some.id
                before = old.nodes.get(node_id)
                if step.after is None:
                    self._forget(node_id)
                elif step.after.cloned_since and not (before and before.cloned_since):
                    self._returned.setdefault(node_id, self._clock())

    def missed(self, old: State, new: State) -> None:
        """Forget what was seen of nodes that are gone."""
        with self._lock:
            for node_id in [each for each in self._last if each not in new.nodes]:
                self._forget(node_id)

    def _forget(self, node_id: str) -> None:
        self._seen.pop(node_id, None)
        self._last.pop(node_id, None)
        self._returned.pop(node_id, None)
