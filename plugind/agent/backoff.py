"""Delays between attempts, so that clients that failed together do not return together."""

from __future__ import annotations

import random
from dataclasses import dataclass

_DOUBLINGS_MAXIMUM = 16  # enough to reach any sensible longest wait, and far from overflowing


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays from ``shortest`` to ``longest`` seconds, doubled with each failure in a row."""

    shortest: float
    longest: float

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after that many failures in a row (1 or more), with full
        jitter."""
        doubled = self.shortest * 2.0 ** min(failures, _DOUBLINGS_MAXIMUM)
        return random.uniform(self.shortest, max(self.shortest, min(self.longest, doubled)))

    def slow(self) -> float:
        """Return the seconds to wait for a failure that only an operator can correct."""
        return random.uniform(self.longest / 2, self.longest)
