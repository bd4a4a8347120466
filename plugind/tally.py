"""Counts events and sums up a figure of each: since the start, and in the last full ten seconds."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

INTERVAL = 10
"""Seconds of an interval. It begins when the clock's seconds are a multiple of this."""

AT_ONCE = 256
"""Events that a counter collects before it adds them to its tally."""

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Total:
    """The number of events since the start, the sum of their figures, and for each bound how many
    events had a figure of at most that bound (``buckets``)."""

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
        if figure < self.minimum:
            self.minimum = figure
        if figure > self.maximum:
            self.maximum = figure

    def add_all(self, figures: Sequence[float]) -> None:
        """Add figures in ascending order."""
        self.count += len(figures)
        self.sum += sum(figures)
        self.squares += sum(figure * figure for figure in figures)
        self.minimum = min(self.minimum, figures[0])
        self.maximum = max(self.maximum, figures[-1])

    @property
    def mean(self) -> float:
        return self.sum / self.count

    @property
    def deviation(self) -> float:
        """Return the sample standard deviation; 0 if there is only one event."""
        if self.count < 2:
            return 0.0
        square = (self.squares - self.sum * self.mean) / (self.count - 1)
        return math.sqrt(max(0.0, square))


@dataclass(frozen=True, slots=True)
class Counts:
    """A tally's counts at one moment, which can be sent to another process.

    ``recents`` has the figures of the last two intervals, by the interval's number.
    """

    bounds: tuple[float, ...]
    sums: list[tuple[Labels, Total]]
    recents: dict[int, list[tuple[Labels, Recent]]]

    def totals(self) -> Mapping[Labels, Total]:
        """Return the counts since the start, by labels, sorted."""
        return dict(self.sums)

    def recent(self, number: int) -> Mapping[Labels, Recent]:
        """Return the figures of the interval with that number, sorted by labels; none if they are
        not known."""
        return dict(self.recents.get(number, ()))


@dataclass(slots=True)
class _Sums:
    count: int = 0
    sum: float = 0.0
    buckets: list[int] = field(default_factory=list)


class Counter:
    """Counts events with the same labels for a tally. Thread-safe.

    It is for events that happen ten thousand times a second, and adds them to the tally many at a
    time: when the tally is read, when there are AT_ONCE of them, and at the first event of the next
    interval. They count for the interval in which they happened.
    """

    __slots__ = ("_figures", "_tally", "labels")

    def __init__(self, tally: Tally, labels: Labels) -> None:
        self.labels = labels
        self._tally = tally
        self._figures: deque[float] = deque()

    def add(self, figure: float) -> None:
        """Count an event with its figure."""
        figures = self._figures
        if len(figures) >= AT_ONCE or not self._tally.began <= time.time() < self._tally.ends:
            self._tally.collect()
        figures.append(figure)

    def take(self) -> list[float]:
        """Return the figures that the tally does not have yet, in ascending order."""
        figures = self._figures
        return sorted(figures.popleft() for _ in range(len(figures)))


class Tally:
    """Counts of events by label values, which must be few. Thread-safe.

    ``bounds`` are the bounds of a histogram's buckets, in ascending order. Labels that are
    ``known`` are present with the count 0 from the start: otherwise a monitoring system that reads
    the counts now and then would not notice the first event as an increase.
    """

    def __init__(self, bounds: Sequence[float] = (), known: Iterable[Labels] = ()) -> None:
        self.bounds = tuple(bounds)
        self._sums = {labels: self._nothing() for labels in known}
        self._current: dict[Labels, Recent] = {}
        self._last: dict[Labels, Recent] = {}
        self._number = 0  # of the current interval
        self.began = self.ends = 0.0
        self._counters: dict[Labels, Counter] = {}
        self._lock = threading.Lock()

    def add(self, labels: Labels = (), figure: float = 1.0, times: int = 1) -> None:
        """Count an event with its figure, or several events with the same figure."""
        with self._lock:
            self._look_at_clock()
            sums, recent = self._of(labels)
            sums.count += times
            sums.sum += figure * times
            if self.bounds:
                sums.buckets[bisect_left(self.bounds, figure)] += times
            recent.add(figure, times)

    def counter(self, labels: Labels) -> Counter:
        """Return the counter of events with these labels, the same object each time."""
        with self._lock:
            found = self._counters.get(labels)
            if found is None:
                found = self._counters[labels] = Counter(self, labels)
            return found

    def collect(self) -> None:
        """Add the events that the counters have collected."""
        with self._lock:
            self._look_at_clock()
            self._collect()

    def _collect(self) -> None:
        for counter in self._counters.values():
            if figures := counter.take():
                sums, recent = self._of(counter.labels)
                sums.count += len(figures)
                sums.sum += sum(figures)
                below = 0
                for at, bound in enumerate(self.bounds):
                    up_to = bisect_right(figures, bound)
                    sums.buckets[at] += up_to - below
                    below = up_to
                if self.bounds:
                    sums.buckets[-1] += len(figures) - below
                recent.add_all(figures)

    def _look_at_clock(self) -> None:
        """Begin a new interval if the last one has ended."""
        number = int(time.time() // INTERVAL)
        if number != self._number:
            self._collect()
            self._last = self._current if number == self._number + 1 else {}
            self._current, self._number = {}, number
            self.began = float(number * INTERVAL)
            self.ends = self.began + INTERVAL

    def _of(self, labels: Labels) -> tuple[_Sums, Recent]:
        sums = self._sums.get(labels)
        if sums is None:
            sums = self._sums[labels] = self._nothing()
        recent = self._current.get(labels)
        if recent is None:
            recent = self._current[labels] = Recent()
        return sums, recent

    def totals(self) -> Mapping[Labels, Total]:
        """Return the counts since the start, by labels, sorted."""
        with self._lock:
            self._collect()
            return {
                labels: Total(sums.count, sums.sum, tuple(accumulate(sums.buckets)))
                for labels, sums in sorted(self._sums.items())
            }

    def recent(self, number: int) -> Mapping[Labels, Recent]:
        """Return the figures of the interval with that number, sorted by labels. Only those of the
        current interval and the one before it are known."""
        with self._lock:
            self._collect()
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
                # A tally's counts are per bucket, a total's are cumulative up to each bound.
                below = (0, *total.buckets)
                for at in range(min(len(sums.buckets), len(total.buckets))):
                    sums.buckets[at] += total.buckets[at] - below[at]

    def _nothing(self) -> _Sums:
        return _Sums(buckets=[0] * (len(self.bounds) + 1) if self.bounds else [])
