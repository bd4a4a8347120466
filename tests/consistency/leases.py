"""Checks that no node goes down while it holds a lease."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence

from tests.consistency.operations import History, Lease
from tests.consistency.violations import EARLY, Violation

UNKEPT = 0.2
"""The share of the time to live for which a process may know of a heartbeat without storing it. A
process stores all heartbeats every twentieth of that time; the rest is a margin for busy machines.
An agent beats three times in its time to live, so losing one beat does not take its node down."""


def held(history: History) -> Iterator[Violation]:
    """Yield each node that was recorded as down within its time to live after a heartbeat."""
    by_node: dict[str, list[Lease]] = defaultdict(list)
    kills: dict[str, list[float]] = defaultdict(list)
    for fault in sorted(history.faults, key=lambda each: each.begun):
        for server in fault.servers if fault.kills else ():
            kills[server].append(fault.begun)
    for lease in sorted(history.leases, key=lambda each: each.begins):
        if not _is_lost(kills[lease.server], lease):
            by_node[lease.node].append(lease)
    for node, time in history.downs:
        leases = by_node.get(node, [])
        place = bisect_right(leases, time, key=lambda each: each.begins)
        if place and time < leases[place - 1].ends:
            late = (leases[place - 1].ends - time) / 1e9
            yield Violation(EARLY, f"{node}, {late:.3f} s before the end of {leases[place - 1]}")


def _is_lost(kills: Sequence[float], lease: Lease) -> bool:
    """Return whether a beat may be known to no other process, because the process that answered it
    was killed (at one of ``kills``, in order) before it stored the beat."""
    seconds = UNKEPT * (lease.ends - lease.begins) / 1e9
    place = bisect_left(kills, lease.answered)
    return place < len(kills) and kills[place] <= lease.answered + seconds
