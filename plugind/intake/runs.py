"""Notices two agents that report as one node: a machine cloned with its agent's data_dir.

An agent draws a RunID at each start. A new one is a restart; one that returns after another was
seen means that both are alive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

REMEMBERED = 16
"""RunIDs kept of a node."""


class Runs:
    """The RunIDs seen of each node. Safe for threads.

    ``calm`` is in seconds: a node counts as cloned until one agent alone was heard for as long;
    those ``cloned`` when this process started do so until then.
    """

    def __init__(
        self,
        calm: float,
        cloned: Iterable[str] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calm = calm
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, list[str]] = {}
        self._returned = dict.fromkeys(cloned, clock())

    def seen(self, node_id: str, run_id: str) -> bool:
        """A node was heard of, by an agent that may not say which ("" for the RunID). Returns
        whether the node counts as cloned."""
        now = self._clock()
        with self._lock:
            runs = self._seen.get(node_id, [])
            if run_id in runs[:-1]:
                self._returned[node_id] = now
            if run_id and run_id not in runs[-1:]:
                others = [run for run in runs if run != run_id]
                self._seen[node_id] = [*others, run_id][-REMEMBERED:]
            returned = self._returned.get(node_id)
            if returned is not None and now - returned < self._calm:
                return True
            self._returned.pop(node_id, None)
            return False

    def leave(self, node_id: str) -> None:
        """The node is gone, and what was seen of it with it."""
        with self._lock:
            self._seen.pop(node_id, None)
            self._returned.pop(node_id, None)
