"""How available plugins were: sums over windows of time, as docs/history.md defines them.

Nothing here reads a store or a clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from plugind.availability.lives import NOTHING, Counts, parts
from plugind.model import EXPECTED, InstanceKey, Run, Transition
from plugind.model.changes import expected_in

_FIRST = -1
"""Stands for the time before the first transition."""


class Group(NamedTuple):
    """Instances whose times are added up: those of a plugin type in one role."""

    type: str
    role: str


class Window(NamedTuple):
    """A span of time, in nanoseconds since the epoch; ``end`` is not in it."""

    start: int
    end: int


class Sums(NamedTuple):
    """Sums over a window, in nanoseconds times instances. ``observed`` is that of the expected
    instances while a server ran. ``healthy`` and ``node_down`` (the node was not heard) are parts
    of it; ``unknown`` is not.

    ``watched`` is the time in which instances were expected and a server ran, and ``any_healthy``
    the part of it in which at least one instance was healthy.
    """

    healthy: float = 0
    node_down: float = 0
    unknown: float = 0
    observed: float = 0
    any_healthy: float = 0
    watched: float = 0

    @property
    def unhealthy(self) -> float:
        return self.observed - self.healthy - self.node_down

    @property
    def availability(self) -> float | None:
        """Return ``healthy`` as a share of ``observed``; None if nothing was observed."""
        return self.healthy / self.observed if self.observed else None

    @property
    def any_share(self) -> float | None:
        """Return the share of the time in which at least one instance was healthy."""
        return self.any_healthy / self.watched if self.watched else None

    def plus(self, other: Sums, times: float = 1) -> Sums:
        return Sums(*(one + times * more for one, more in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Present:
    """The present health of instances ("healthy", "unhealthy", or "down" on a node that is down),
    and the expected numbers of them that are declared."""

    instances: Mapping[InstanceKey, str] = field(default_factory=dict)
    declared: Mapping[Group, int] = field(default_factory=dict)


def sums_of(
    rows: Sequence[Transition],
    present: Present,
    windows: Sequence[Window],
    runs: Iterable[Run],
    now: int,
) -> dict[Group, list[Sums]]:
    """Return the sums of each group over each of the windows, which all end by ``now``.

    ``rows`` are transitions, newest first, at least as far back as the windows go. ``runs`` are the
    times in which servers ran.
    """
    begin = min((window.start for window in windows), default=now)
    changes: dict[Group, dict[int, Counts]] = defaultdict(lambda: defaultdict(Counts))
    for part in parts(rows, present.instances, begin, now):
        at = changes[Group(part.key.type, part.key.role)]
        at[part.start] = at[part.start].plus(part.counts)
        at[part.end] = at[part.end].plus(part.counts, -1)
    declared = _declared(rows, present)
    on = list(_joined(runs))
    return {
        group: _over(windows, changes.get(group, {}), declared.get(group, {}), on)
        for group in sorted({*changes, *declared})
    }


def rate(present: Present) -> Sums:
    """Return the sums over one nanosecond of the present, for all groups together."""
    total = Sums()
    counts: dict[Group, Counts] = defaultdict(Counts)
    for part in parts((), present.instances, 0, 1):
        group = Group(part.key.type, part.key.role)
        counts[group] = counts[group].plus(part.counts)
    for group in {*counts, *present.declared}:
        total = total.plus(_each(counts[group], present.declared.get(group), is_on=True))
    return total


def _declared(rows: Iterable[Transition], present: Present) -> dict[Group, dict[int, int | None]]:
    """Return the declared number of instances of each group, None for none, by the time from which
    on it was declared: _FIRST, and later times."""
    found: dict[Group, dict[int, int | None]] = defaultdict(dict)
    for group, number in present.declared.items():
        found[group][_FIRST] = number
    for row in rows:
        if row.kind == EXPECTED:
            before, after = expected_in(row.before), expected_in(row.after)
            for role in {*before, *after}:
                at = found[Group(row.type, role)]
                at.setdefault(row.time, after.get(role))
                at[_FIRST] = before.get(role)
    return found


def _joined(runs: Iterable[Run]) -> Iterator[Window]:
    """Yield the spans in which any server ran, in order; adjoining spans are merged."""
    start = end = -1
    for run in sorted(runs, key=lambda run: run.start):
        if run.start > end:
            if end > start:
                yield Window(start, end)
            start = end = run.start
        end = max(end, run.end)
    if end > start:
        yield Window(start, end)


def _over(
    windows: Sequence[Window],
    changes: Mapping[int, Counts],
    declared: Mapping[int, int | None],
    on: Iterable[Window],
) -> list[Sums]:
    """Return a group's sums over windows. ``changes`` has by time how its counts change, and
    ``declared`` the number that is declared from then on; ``on`` are the spans in which servers
    ran."""
    is_on_from = {time: time == span.start for span in on for time in span}
    edges = {time for window in windows for time in window}
    times = sorted({*changes, *declared, *is_on_from, *edges})
    first, last = min(edges), max(edges)
    counts, number, is_on = NOTHING, None, False
    total, at = Sums(), dict[int, Sums]()
    for time, following in pairwise([*times, last]):
        counts = counts.plus(changes[time]) if time in changes else counts
        number = declared.get(time, number)
        is_on = is_on_from.get(time, is_on)
        if time in edges:
            at[time] = total
        if first <= time < last:
            total = total.plus(_each(counts, number, is_on=is_on), following - time)
    return [at[window.end].plus(at[window.start], -1) for window in windows]


def _each(counts: Counts, number: int | None, *, is_on: bool) -> Sums:
    """Return the sums over one nanosecond; ``number`` is the declared one, None for none."""
    expected = counts.known if number is None else number
    away = counts.away if number is None else 0
    if not is_on:
        return Sums(unknown=expected + away)
    healthy = min(counts.healthy, expected)
    down = min(counts.down, expected - healthy)
    if not expected:
        return Sums(unknown=away)
    return Sums(healthy, down, away, expected, min(1, counts.healthy), 1)
