"""Counts how often clients reached limits, for health and for the log."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import MappingProxyType

from plugind import logs
from plugind.tally import Tally

LOG_EVERY = 60.0
"""Seconds between two log lines about the same limit."""

_log = logs.get("server")


class Hits:
    """Counts how often each limit was reached, by the limit's name. Thread-safe.

    The first time is logged, and afterwards at most one line per minute and limit.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self._logged: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, limit: str, **details: object) -> None:
        """Count that a limit was reached; ``details`` go into the log line."""
        now = time.monotonic()
        with self._lock:
            self.tally.add((limit,))
            count = self.counts[limit]
            if now - self._logged.get(limit, -LOG_EVERY) < LOG_EVERY:
                return
            self._logged[limit] = now
        _log.warning("limit reached", limit=limit, count=count, **details)

    @property
    def counts(self) -> Mapping[str, int]:
        """Return how often each limit was reached since the start, by name."""
        totals = self.tally.totals()
        return MappingProxyType({limit: total.count for (limit,), total in totals.items()})
