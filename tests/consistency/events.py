"""Checks of event streams: each transition appears once, in the order of the history."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator

from tests.consistency.operations import Content, Follower, Happened, History
from tests.consistency.truth import Truth
from tests.consistency.violations import (
    MISMATCH,
    MISSED,
    REORDERED,
    REPEATED,
    WRONG,
    Violation,
)


def order(history: History, truth: Truth) -> Iterator[Violation]:
    """Yield differences between the event streams that followers saw and the history. If there are
    none, the streams of different servers agree on their common range."""
    places = {row: place for place, row in enumerate(truth.rows)}
    for follower in history.followers:
        yield from _lines(follower)
        if follower.wants:
            until = history.newest or truth.last
            yield from _transitions(follower, truth, places, until)
    yield from _shown(history, truth)


def _lines(follower: Follower) -> Iterator[Violation]:
    newest = follower.start - 1
    for line in follower.lines:
        where = f"{follower.name} on {line.server}, connection {line.connection}"
        if line.gap:
            yield Violation(MISSED, f"{where}: a Gap at {line.index}")
        if line.index == newest:
            yield Violation(REPEATED, f"{where}: index {line.index} came twice")
        elif line.index < newest:
            yield Violation(REORDERED, f"{where}: {line.index} came after {newest}")
        newest = max(newest, line.index)


def _transitions(
    follower: Follower, truth: Truth, places: dict[Happened, int], until: int
) -> Iterator[Violation]:
    """Compare the transitions that a follower saw with the history; up to the index ``until`` the
    follower must have seen all."""
    seen = [(each, line) for line in follower.lines for each in line.happened]
    found: set[int] = set()
    newest = -1
    for each, line in seen:
        where = f"{follower.name} on {line.server}, connection {line.connection}: {each}"
        place = places.get(each)
        if place is None:
            yield Violation(WRONG, where)
        elif place in found:
            yield Violation(REPEATED, where)
        else:
            if place < newest:
                yield Violation(REORDERED, where)
            newest = max(newest, place)
            found.add(place)
    begin = bisect_left(truth.rows, follower.start, key=lambda row: row.index)
    end = bisect_right(truth.rows, until, key=lambda row: row.index)
    missed = [n for n in range(begin, max(end, newest)) if n not in found]
    if missed:
        text = f"{follower.name} did not see {len(missed)}, from {truth.rows[missed[0]]} on"
        yield Violation(MISSED, f"{text}; its last index is {follower.last}")


def _shown(history: History, truth: Truth) -> Iterator[Violation]:
    """Yield events whose plugin differs from its state at the event's index."""
    by_resource: dict[str, list[tuple[int, Content, str]]] = defaultdict(list)
    for follower in history.followers:
        for line in follower.lines:
            for resource, index, content in line.shown:
                by_resource[resource].append((index, content, follower.name))
    for resource, of in by_resource.items():
        of.sort(key=lambda each: each[0])
        shown = truth.contents(resource, (index for index, _, _ in of))
        for (index, content, name), expected in zip(of, shown, strict=True):
            if content != expected:
                yield Violation(MISMATCH, f"event of {resource} at {index} for {name}")
