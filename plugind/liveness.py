"""Notices nodes that are not heard of any more, and has intake say so.

Deadlines are of the monotonic clock, so that a jump of the wall clock silences nobody, and start
anew with the process, so that a restart of the server does not either.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable

from plugind import logs
from plugind.errors import PlugindError

_SPREAD = 0.1  # of the TTL, so that a fleet that started together does not beat together
_GRACE = 0.5  # of the TTL, for an answer on its way and a beat that is late

_log = logs.get("liveness")


class Liveness:
    """Calls ``silence(node_id)`` for each node that did not beat within its time to live.

    ``ttl`` is in seconds. Safe for threads; ``close`` ends its own.
    """

    def __init__(self, ttl: float, nodes: Iterable[str], silence: Callable[[str], object]) -> None:
        self._ttl = ttl
        self._silence = silence
        self._wake = threading.Condition()
        self._closed = False
        self._deadlines: dict[str, float] = {}
        for node_id in nodes:
            self.beat(node_id)
        self._thread = threading.Thread(target=self._run, name="liveness", daemon=True)
        self._thread.start()

    def beat(self, node_id: str) -> float:
        """The node was heard of. Returns within how many seconds it must be heard of again."""
        ttl = self._ttl * (1 + random.uniform(0, _SPREAD))
        with self._wake:
            self._deadlines[node_id] = time.monotonic() + ttl + self._ttl * _GRACE
        return ttl

    def leave(self, node_id: str) -> None:
        """The node is gone and no longer expected to be heard of."""
        with self._wake:
            self._deadlines.pop(node_id, None)

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait(self._ttl / 10)
                if self._closed:
                    return
                now = time.monotonic()
                late = [node_id for node_id, due in self._deadlines.items() if due <= now]
            for node_id in late:
                self._expire(node_id)

    def _expire(self, node_id: str) -> None:
        try:
            self._silence(node_id)
        except PlugindError as error:
            _log.error("a silent node could not be written", node=node_id, reason=str(error))
        else:
            _log.warning("nothing heard of a node", node=node_id)
            self.leave(node_id)
