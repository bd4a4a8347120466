"""Checks that parked queries wake in time, and not without a reason."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from tests.consistency.operations import ACKNOWLEDGED, PENDING, Fault, History, Read
from tests.consistency.reads import plugins_of, touched_by
from tests.consistency.truth import Truth
from tests.consistency.violations import ASLEEP, SPURIOUS, Violation
from tests.promises import is_longer

SHARE = 0.9
"""The share of its wait after which an answer without a change counts as a timeout."""


def in_time(history: History, truth: Truth, bound: float, recovery: float) -> Iterator[Violation]:
    """Yield parked queries that woke too late or too early.

    Too late: more than ``bound`` seconds after the first change of the resource was acknowledged,
    or not before the run ended. Too early: without a change before the wait was over. While a fault
    lasts that may delay the server, nothing is promised; it wakes its queries within ``recovery``
    seconds after the fault.
    """
    first = _first_acknowledged(history)
    for read in history.reads:
        if not read.after or read.status not in (ACKNOWLEDGED, PENDING):
            continue
        until = read.completed or history.ended
        is_early = until - read.invoked < SHARE * read.wait and bool(read.content)
        is_unchanged = bool(read.completed) and read.index <= read.after
        if is_early and is_unchanged and not _faults(history, read, until):
            yield Violation(SPURIOUS, _brief(read, until))
        indexes, times = first.get(read.resource, ((), ()))
        place = bisect_right(indexes, read.after)
        if place == len(indexes):
            continue
        due = max(read.invoked, times[place])
        for fault in _faults(history, read, until):
            due = max(due, fault.ended + recovery)
        if is_longer(until - due, read.delay, bound):
            text = f"{_brief(read, until)}; {indexes[place]} was acknowledged {until - due:.2f} s"
            yield Violation(ASLEEP, f"{text} before")


def _first_acknowledged(history: History) -> dict[str, tuple[Sequence[int], Sequence[float]]]:
    """Return for each resource the indexes of acknowledged writes in order, each with the earliest
    time at which a write with that or a later index was acknowledged."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    plugins = plugins_of(history)
    done = [each for each in history.writes if each.status == ACKNOWLEDGED]
    for write in sorted(done, key=lambda each: -each.index):
        for resource in touched_by(write.node, plugins):
            indexes, times = found.setdefault(resource, ([], []))
            indexes.append(write.index)
            times.append(min(write.completed, times[-1]) if times else write.completed)
    return {name: (of[::-1], times[::-1]) for name, (of, times) in found.items()}


def _faults(history: History, read: Read, until: float) -> list[Fault]:
    return [
        each
        for each in history.faults
        if read.server in each.servers and each.begun <= until and each.ended >= read.invoked
    ]


def _brief(read: Read, until: float) -> str:
    return (
        f"{read.client} waited for {read.resource} after {read.after} on {read.server} from "
        f"{read.invoked:.3f} to {until:.3f}, and got {read.index or 'nothing'}"
    )
