"""The metrics and the health of one process of a server at one moment, and the sums over several.

A server's counters must never fall, whichever of its processes answers, and even if one of them was
replaced. So a process publishes its counters before it shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from plugind.health import Health
from plugind.metrics.families import BY_NAME, LEAST, MOST, OWN, SUM
from plugind.metrics.readings import Reading
from plugind.tally import Counts, Labels, Recent, Tally, Total

CPU = "process_cpu_seconds_total"

_COMBINE: dict[str, Callable[[list[float]], float]] = {SUM: sum, LEAST: min, MOST: max}

Values = list[tuple[Labels, float]]


@dataclass(frozen=True, slots=True)
class Client:
    """The client role of a process: its health, and its stats for ``/v1/agent/self``."""

    health: Health
    stats: dict[str, str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The metrics and the health of a process. Tallies (``counts``), ``gauges`` and the values of
    the ``process`` are by metric name. ``pid`` is 0 if the process has ended; ``at`` is in seconds
    of the machine's monotonic clock."""

    pid: int = 0
    at: float = 0.0
    counts: dict[str, Counts] = field(default_factory=dict)
    gauges: dict[str, Values] = field(default_factory=dict)
    process: dict[str, float] = field(default_factory=dict)
    health: Health = field(default_factory=Health)
    client: Client | None = None

    def ended(self) -> Snapshot:
        """Return what remains after the process has ended: its counters, and its processor time."""
        process = {CPU: self.process[CPU]} if CPU in self.process else {}
        return Snapshot(counts=self.counts, process=process)

    def values(self, name: str) -> dict[Labels, float]:
        """Return the values of a gauge, or how many events a counter has, by labels."""
        if name in self.counts:
            return {labels: total.count for labels, total in self.counts[name].sums}
        return dict(self.gauges.get(name, ()))

    def readings(self) -> Iterator[tuple[str, Counts | Values]]:
        """Yield the tallies and gauges."""
        yield from self.counts.items()
        yield from self.gauges.items()


Together = Callable[[], Sequence[Snapshot]]
"""Returns the snapshots of all processes of a server. This process's comes first; it is current and
has been published."""


def frozen(readings: Iterable[Reading]) -> tuple[dict[str, Counts], dict[str, Values]]:
    """Return the current values of readings: tallies, and gauges."""
    counts: dict[str, Counts] = {}
    gauges: dict[str, Values] = {}
    for name, found in readings:
        if isinstance(found, Tally):
            counts[name] = found.counts()
        elif isinstance(found, Counts):
            counts[name] = found
        else:
            gauges[name] = list(found)
    return counts, gauges


def summed(snapshots: Sequence[Snapshot]) -> Iterator[Reading]:
    """Yield the combined readings of several processes; the first is the one that answers."""
    own = snapshots[0]
    for name, found in own.readings():
        across = BY_NAME[name].across
        if across == OWN:
            yield name, found
        elif isinstance(found, Counts):
            yield name, _counts([each.counts[name] for each in snapshots if name in each.counts],
                                across)  # fmt: skip
        else:
            rows = [row for each in snapshots for row in each.gauges.get(name, ())]
            yield name, _values(rows, across)


def _values(rows: Iterable[tuple[Labels, float]], across: str) -> Values:
    found: dict[Labels, list[float]] = {}
    for labels, value in rows:
        found.setdefault(labels, []).append(value)
    return [(labels, _COMBINE[across](values)) for labels, values in sorted(found.items())]


def _counts(found: Sequence[Counts], across: str) -> Counts:
    sums: dict[Labels, Total] = {}
    recents: dict[int, dict[Labels, Recent]] = {}
    for counts in found:
        for labels, each in counts.sums:
            sums[labels] = _total(sums[labels], each, across) if labels in sums else each
        for number, recent in counts.recents.items():
            into = recents.setdefault(number, {})
            for labels, figures in recent:
                into[labels] = _recent(into[labels], figures, across) if labels in into else figures
    merged = {number: sorted(each.items()) for number, each in recents.items()}
    return Counts(found[0].bounds, sorted(sums.items()), merged)


def _total(a: Total, b: Total, across: str) -> Total:
    if across == MOST:
        return max(a, b, key=lambda each: each.count)
    buckets = tuple(map(sum, zip(a.buckets, b.buckets, strict=True)))
    return Total(a.count + b.count, a.sum + b.sum, buckets)


def _recent(a: Recent, b: Recent, across: str) -> Recent:
    if across == MOST:
        return max(a, b, key=lambda each: each.count)
    return Recent(
        a.count + b.count,
        a.sum + b.sum,
        a.squares + b.squares,
        min(a.minimum, b.minimum),
        max(a.maximum, b.maximum),
    )
