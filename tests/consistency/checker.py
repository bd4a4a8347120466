"""Looks through the history of a run for anything that plugind promises not to do.

It takes time n log n: what each answer has to show follows from the history that the store kept, so
that nothing is searched for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.consistency import events, leases, reads, waking, writes
from tests.consistency.operations import Happened, History
from tests.consistency.truth import Truth
from tests.consistency.violations import Violation

SHOWN = 12
"""Violations that a failure shows; the first of them say most."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds within which a parked query wakes, and within which it does after a fault ended."""

    wake: float = 1.0
    recovery: float = 3.0


def check(
    history: History, kept: Mapping[str, Sequence[Happened]], bounds: Bounds | None = None
) -> list[Violation]:
    """Return everything that is wrong with a run. ``kept`` is the history of transitions as each
    server gives it after the run; that of the first counts."""
    rows = next(iter(kept.values()))
    truth, bounds = Truth(rows), bounds or Bounds()
    return list(_all(history, truth, kept, bounds))


def _all(
    history: History, truth: Truth, kept: Mapping[str, Sequence[Happened]], bounds: Bounds
) -> Iterator[Violation]:
    yield from (Violation(kind, text) for kind, text in history.complaints)
    yield from writes.agreement(history, kept)
    yield from writes.chains(truth)
    yield from writes.kept(history, truth)
    yield from writes.order(history)
    yield from reads.freshness(history)
    yield from reads.monotony(history)
    yield from reads.contents(history, truth)
    yield from reads.halves(history)
    yield from events.order(history, truth)
    yield from waking.in_time(history, truth, bounds.wake, bounds.recovery)
    yield from leases.held(history)


def report(violations: Sequence[Violation]) -> str:
    """Return violations as text: how many of each kind, and the first ones."""
    kinds: dict[str, int] = {}
    for each in violations:
        kinds[each.kind] = kinds.get(each.kind, 0) + 1
    lines = [f"{count} x {kind}" for kind, count in kinds.items()]
    return "\n  ".join([", ".join(lines), *map(str, violations[:SHOWN])])
