"""How many probes of a plugin type were made on one node, and how long they took."""

from __future__ import annotations

from typing import NamedTuple

from plugind.model.times import INT64_MAX


class Probes(NamedTuple):
    """The number of probes, the number of those that failed or found something unhealthy, and the
    total nanoseconds that they took."""

    number: int = 0
    failures: int = 0
    time: int = 0

    def plus(self, other: Probes) -> Probes:
        """Return the sum, with each number limited to the largest that the wire can carry."""
        sums = (min(a + b, INT64_MAX) for a, b in zip(self, other, strict=True))
        return Probes(*sums)


NO_PROBES = Probes()
