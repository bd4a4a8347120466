"""How many probes there were of a plugin type on one node, and how long they took."""

from __future__ import annotations

from typing import NamedTuple

from plugind.model.times import INT64_MAX


class Probes(NamedTuple):
    """The number of probes, of those that failed or found something unhealthy, and the nanoseconds
    that all of them took."""

    number: int = 0
    failures: int = 0
    time: int = 0

    def plus(self, other: Probes) -> Probes:
        """Return the sum, each number at most what the wire has room for."""
        sums = (min(a + b, INT64_MAX) for a, b in zip(self, other, strict=True))
        return Probes(*sums)


NO_PROBES = Probes()
