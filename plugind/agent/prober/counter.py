"""Counts the probes of a prober's process."""

from __future__ import annotations

import threading

from plugind.agent.protocol import Failed, Found
from plugind.model.probes import NO_PROBES, Probes
from plugind.model.times import SECOND


class ProbeCounter:
    """The ``probes`` since the start. Safe for threads."""

    def __init__(self) -> None:
        self.probes = NO_PROBES
        self._lock = threading.Lock()

    def add(self, outcome: Found | Failed, seconds: float) -> None:
        """Count a probe. One that finds something unhealthy has failed."""
        has_failed = isinstance(outcome, Failed) or not all(
            each["Healthy"] for each in outcome.instances.values()
        )
        with self._lock:
            self.probes = self.probes.plus(Probes(1, has_failed, round(seconds * SECOND)))
