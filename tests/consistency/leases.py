"""Checks that no node goes down while a lease that it was given holds."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator

from tests.consistency.operations import History, Lease
from tests.consistency.violations import EARLY, Violation


def held(history: History) -> Iterator[Violation]:
    """Yield where a node was written as down while it had been heard within its time to live."""
    by_node: dict[str, list[Lease]] = defaultdict(list)
    for lease in sorted(history.leases, key=lambda each: each.begins):
        by_node[lease.node].append(lease)
    for node, time in history.downs:
        leases = by_node.get(node, [])
        place = bisect_right(leases, time, key=lambda each: each.begins)
        if place and time < leases[place - 1].ends:
            late = (leases[place - 1].ends - time) / 1e9
            yield Violation(EARLY, f"{node}, {late:.3f} s before the end of {leases[place - 1]}")
