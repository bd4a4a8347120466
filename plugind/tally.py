"""Counts events and adds up a figure of each: since the start, and in the last full ten seconds."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

INTERVAL = 10
"""Seconds of an interval, which begins when the clock's seconds are a multiple of it."""

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Total:
    """How many events there were since the start, the sum of their figures, and how many had a
    figure of at most each bound."""

    count: int
    sum: float
    buckets: tuple[int, ...] = ()


@dataclass(slots=True)
class Recent:
    """The figures of the events of one interval."""

    count: int = 0
    sum: float = 0.0
    squares: float = 0.0
    minimum: float = float("inf")
    maximum: float = float("-inf")

    def add(self, figure: float, times: int) -> None:
        self.count += times
        self.sum += figure * times
        self.squares += figure * figure * times
        self.minimum = min(self.minimum, figure)
        self.maximum = max(self.maximum, figure)

    @property
    def mean(self) -> float:
        return self.sum / self.count

    @property
    def deviation(self) -> float:
        """Return the standard deviation of a sample; 0 of a single event."""
        if self.count < 2:
            return 0.0
        square = (self.squares - self.sum * self.mean) / (self.count - 1)
        return math.sqrt(max(0.0, square))


@dataclass(frozen=True, slots=True)
class Counts:
    """What a tally has counted as of one moment; it can be handed to another process.

    ``recents`` has the figures of the last two intervals, by their numbers.
    """

    bounds: tuple[float, ...]
    sums: list[tuple[Labels, Total]]
    recents: dict[int, list[tuple[Labels, Recent]]]

    def totals(self) -> Mapping[Labels, Total]:
        """Return the counts since the start, by labels, sorted."""
        return dict(self.sums)

    def recent(self, number: int) -> Mapping[Labels, Recent]:
        """Return the figures of an interval by its number, by labels, sorted; none where they are
        not known."""
        return dict(self.recents.get(number, ()))


@dataclass(slots=True)
class _Sums:
    count: int = 0
    sum: float = 0.0
    buckets: list[int] = field(default_factory=list)


class Tally:
    """Counts of events by the values of labels, which must be few. Safe for threads.

    ``bounds`` are those of the buckets of a histogram, in ascending order. Labels that are
    ``known`` are counted from 0 on: one who reads the counts now and then would otherwise take the
    first event for one that was always there.
    """

    def __init__(self, bounds: Sequence[float] = (), known: Iterable[Labels] = ()) -> None:
        self.bounds = tuple(bounds)
        self._sums = {labels: self._nothing() for labels in known}
        self._current: dict[Labels, Recent] = {}
        self._last: dict[Labels, Recent] = {}
        self._number = 0  # of the current interval
        self._lock = threading.Lock()

    def add(self, labels: Labels = (), figure: float = 1.0, times: int = 1) -> None:
        """Count an event with its figure, or several that have the same."""
        number = int(time.time() // INTERVAL)
        with self._lock:
            if number != self._number:
                self._last = self._current if number == self._number + 1 else {}
                self._current, self._number = {}, number
            sums = self._sums.get(labels)
            if sums is None:
                sums = self._sums[labels] = self._nothing()
            sums.count += times
            sums.sum += figure * times
            if self.bounds:
                sums.buckets[bisect_left(self.bounds, figure)] += times
            recent = self._current.get(labels)
            if recent is None:
                recent = self._current[labels] = Recent()
            recent.add(figure, times)

    def totals(self) -> Mapping[Labels, Total]:
        """Return the counts since the start, by labels, sorted."""
        with self._lock:
            return {
                labels: Total(sums.count, sums.sum, tuple(accumulate(sums.buckets)))
                for labels, sums in sorted(self._sums.items())
            }

    def recent(self, number: int) -> Mapping[Labels, Recent]:
        """Return the figures of an interval by its number, by labels, sorted: of the last one or
        the one before it; of any other none are known."""
        with self._lock:
            if number not in (self._number, self._number - 1):
                return {}
            return dict(sorted((self._current if number == self._number else self._last).items()))

    def counts(self) -> Counts:
        """Return all that is counted now."""
        numbers = [self._number - 1, self._number]
        recents = {each: list(self.recent(each).items()) for each in numbers}
        return Counts(self.bounds, list(self.totals().items()), recents)

    def take_over(self, before: Counts) -> None:
        """Add the counts of another process, which has ended, to those of this tally."""
        with self._lock:
            for labels, total in before.sums:
                sums = self._sums.setdefault(labels, self._nothing())
                sums.count += total.count
                sums.sum += total.sum
                # Those of a tally are by bucket, those of a total up to each bound.
                below = (0, *total.buckets)
                for at in range(min(len(sums.buckets), len(total.buckets))):
                    sums.buckets[at] += total.buckets[at] - below[at]

    def _nothing(self) -> _Sums:
        return _Sums(buckets=[0] * (len(self.bounds) + 1) if self.bounds else [])
