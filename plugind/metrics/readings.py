"""What a source of metrics gives, and how it is put into prometheus-client's words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol, TypeVar

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from plugind.metrics.families import BY_NAME, COUNTER, HISTOGRAM, Family
from plugind.tally import Counts, Labels, Tally, Total

T = TypeVar("T")

Rows = Iterable[tuple[Labels, float]]
Reading = tuple[str, Rows | Tally | Counts]
"""The name of a metric, and its values by labels, or the tally that has them, or its counts."""


class Pace(Protocol):
    """A function that yields values, and lets other threads run now and then."""

    def __call__(self, values: Iterable[T], /) -> Iterator[T]: ...


class Collector:
    """One source of metrics, as a registry of prometheus-client wants it.

    Nothing is kept: a metric's samples are read when they are asked for, at the given pace.
    """

    def __init__(self, read: Callable[[], Iterable[Reading]], pace: Pace) -> None:
        self.read = read
        self._pace = pace

    def collect(self) -> Iterator[Metric]:
        for name, found in self.read():
            family = BY_NAME[name]
            metric = Metric(name.removesuffix("_total"), family.help, family.kind)
            # It is only iterated over, once; of a list all samples would be made at once.
            metric.samples = self._pace(_samples(family, found))  # type: ignore[assignment]
            yield metric


def _samples(family: Family, found: Rows | Tally | Counts) -> Iterator[Sample]:
    if not isinstance(found, Tally | Counts):
        for labels, value in found:
            yield Sample(family.name, dict(zip(family.labels, labels, strict=True)), value)
        return
    for labels, total in found.totals().items():
        named = dict(zip(family.labels, labels, strict=True))
        if family.kind == COUNTER:
            yield Sample(family.name, named, total.count)
        else:
            yield from _distribution(family, named, total, found.bounds)


def _distribution(
    family: Family, labels: Mapping[str, str], total: Total, bounds: Iterable[float]
) -> Iterator[Sample]:
    """Yield the samples of a histogram, or of a summary without quantiles."""
    if family.kind == HISTOGRAM:
        for bound, count in zip((*bounds, math.inf), total.buckets, strict=True):
            named = {**labels, "le": str(bound) if bound < math.inf else "+Inf"}
            yield Sample(f"{family.name}_bucket", named, count)
    yield Sample(f"{family.name}_count", dict(labels), total.count)
    yield Sample(f"{family.name}_sum", dict(labels), total.sum)
