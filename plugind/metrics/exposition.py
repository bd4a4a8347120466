"""The text format of Prometheus, written by prometheus-client.

Nothing is kept: samples are read on request, at the given pace. This module is imported for the
first scrape, so a server that is never scraped does not load it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from plugind.metrics.families import BY_NAME, COUNTER, HISTOGRAM, Family
from plugind.metrics.readings import Pace, Reading, Rows
from plugind.metrics.snapshot import Snapshot
from plugind.tally import Counts, Tally, Total

CHUNK = 1_000
"""Samples that are converted to text at a time: one call converts all samples that it is given."""

_STARTED = "process_start_time_seconds"
_PROCESS = ProcessCollector(registry=None)


def text(found: Iterable[Reading], pace: Pace, snapshots: Sequence[Snapshot] | None) -> bytes:
    """Return readings, and the metrics of the process, in version 0.0.4 of the format. If the
    server has several processes, ``snapshots`` has those of all, else it is None."""
    parts = [each for reading in found for each in _texts(_metric(reading, pace))]
    own = _PROCESS.collect() if snapshots is None else _summed(snapshots)
    return b"".join([*parts, *(each for metric in own for each in _texts(metric))])


def _metric(reading: Reading, pace: Pace) -> Metric:
    name, found = reading
    family = BY_NAME[name]
    metric = Metric(name.removesuffix("_total"), family.help, family.kind)
    # The samples are iterated over only once; for a list, all would be made at the same time.
    metric.samples = pace(_samples(family, found))  # type: ignore[assignment]
    return metric


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


def _summed(snapshots: Sequence[Snapshot]) -> Iterator[Metric]:
    """Yield the metrics of the process as sums over several processes; the start time is the
    earliest of them."""
    for metric in _PROCESS.collect():
        for sample in metric.samples:
            name = sample.name
            values = [each.process[name] for each in snapshots if name in each.process]
            metric.samples = [
                sample._replace(value=min(values) if name == _STARTED else sum(values))
            ]
        yield metric


class _One:
    """A registry of one metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return [self._metric]


def _texts(metric: Metric) -> Iterator[bytes]:
    """Yield the text of a metric, in parts short enough not to hold up other threads."""
    samples = iter(metric.samples)
    metric.samples = list(islice(samples, CHUNK))
    yield generate_latest(_One(metric))
    while chunk := list(islice(samples, CHUNK)):
        metric.samples = chunk
        _help, _type, lines = generate_latest(_One(metric)).split(b"\n", 2)
        yield lines
