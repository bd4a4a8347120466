"""Check the history of a run for violations of plugind's guarantees.

It takes O(n log n): what each answer must show follows from the history that the store kept, so no
search is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.consistency import events, leases, reads, waking, writes
from tests.consistency.operations import Happened, History
from tests.consistency.truth import Truth
from tests.consistency.violations import Violation

SHOWN = 12
"""The number of violations that a failure shows; the first ones say most."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds within which a parked query wakes: after a change, and after the end of a fault."""

    wake: float = 1.0
    recovery: float = 3.0


def check(
    history: History, kept: Mapping[str, Sequence[Happened]], bounds: Bounds | None = None
) -> list[Violation]:
    """Return every violation of a run. ``kept`` is the history of transitions that each server
    returns after the run; the first server's history is the reference."""
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
