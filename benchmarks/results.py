"""The results of a run: one row for each figure on each server, with its yardstick and target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, NamedTuple

RATE = "/s"
SECONDS = "s"
MEBIBYTES = "MiB"
MILLISECONDS = "ms"
KIBIBYTES = "KiB"
PERCENT = "%"


class Spread(NamedTuple):
    """The median of several runs, and their extremes."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


class Reach(NamedTuple):
    """A target: bounds of the ratio to the yardstick, and of the value itself; None for none."""

    ratio_least: float | None = None
    ratio_most: float | None = None
    least: float | None = None
    most: float | None = None

    def is_met(self, value: float, ratio: float | None) -> bool:
        """Return whether a value and its ratio, if there is a yardstick, are within the bounds."""
        bounds = ((value, self.least, self.most), (ratio, self.ratio_least, self.ratio_most))
        return all(_is_within(*bound) for bound in bounds)

    def texts(self, unit: str) -> Iterator[str]:
        """Yield the bounds as people read them."""
        for bound, sign in ((self.ratio_least, "≥"), (self.ratio_most, "≤")):
            if bound is not None:
                yield f"{sign} {bound:g} of it"
        for bound, sign in ((self.least, "≥"), (self.most, "≤")):
            if bound is not None:
                yield f"{sign} {bound:,g}{unit if unit == RATE else f' {unit}'}"


NO_REACH = Reach()


def _is_within(value: float | None, least: float | None, most: float | None) -> bool:
    if least is None and most is None:
        return True
    if value is None:
        return False
    return (least is None or value >= least) and (most is None or value <= most)


@dataclass(frozen=True)
class Row:
    """A part of a figure on a server.

    ``values`` are those of plugind, run by run, and ``yardsticks`` those of the yardstick, measured
    alternately. ``cpu`` and ``yardstick_cpu`` are the median microseconds of processor time that
    the two servers used for a request.
    """

    figure: str
    part: str
    what: str
    server: str
    unit: str
    values: Sequence[float]
    yardstick: str = ""
    yardsticks: Sequence[float] = ()
    reach: Reach = NO_REACH
    cpu: float | None = None
    yardstick_cpu: float | None = None
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def value(self) -> Spread:
        return Spread.of(self.values)

    @property
    def ratio(self) -> Spread | None:
        """Return the ratio of each run to the yardstick's run of the same pair."""
        if not self.yardsticks:
            return None
        pairs = zip(self.values, self.yardsticks, strict=True)
        return Spread.of([value / yardstick for value, yardstick in pairs])

    @property
    def cpu_ratio(self) -> float | None:
        """Return the yardstick's processor time for a request divided by that of plugind.

        It is the ratio that the rates would have if processor time alone mattered. Other work on
        the machine affects it less than the ratio of rates.
        """
        return self.yardstick_cpu / self.cpu if self.yardstick_cpu and self.cpu else None

    @property
    def is_met(self) -> bool | None:
        """Return whether the target is reached; None if there is no target."""
        if self.reach == NO_REACH:
            return None
        return self.reach.is_met(self.value.median, self.ratio.median if self.ratio else None)

    def for_programs(self) -> dict[str, Any]:
        """Return the row as plain values, for JSON."""
        found = asdict(self)
        found["reach"] = self.reach._asdict()
        found["ratio"] = self.ratio._asdict() if self.ratio else None
        found["value"] = self.value._asdict()
        found["cpu_ratio"] = self.cpu_ratio
        found["is_met"] = self.is_met
        return found
