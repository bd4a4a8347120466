"""Delays between attempts, so that clients that failed together do not return together."""

from __future__ import annotations

import random
from dataclasses import dataclass

_DOUBLINGS_MAXIMUM = 16  # beyond any longest wait that makes sense, and far from overflowing


@dataclass(frozen=True, slots=True)
class Backoff:
    """From ``shortest`` to ``longest`` seconds, doubling with every failure in a row."""

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
