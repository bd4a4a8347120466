"""Scrapes of a server for tests, read with prometheus-client's own parser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support import Answer, Api

ROOT = Path(__file__).parent.parent.parent
PROMETHEUS, PROMTOOL = "/usr/bin/prometheus", "/usr/bin/promtool"
SCRAPE = "/v1/metrics?format=prometheus"


def scrape(api: Api, headers: Mapping[str, str] | None = None) -> dict[str, Metric]:
    """Return the metrics of a server by name; counters are named without ``_total``."""
    answer = api.call("GET", SCRAPE, headers=headers)
    assert answer.status == 200, answer.text
    return families(answer)


def families(answer: Answer) -> dict[str, Metric]:
    return {each.name: each for each in text_string_to_metric_families(answer.text)}


def values(metric: Metric, *labels: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric by the given labels, which must identify each sample."""
    found = {
        tuple(each.labels.get(label, "") for label in labels): each.value for each in metric.samples
    }
    assert len(found) == len(metric.samples)
    return found


def series(metrics: Mapping[str, Metric]) -> set[str]:
    """Return the names of all series of a scrape."""
    return {sample.name for metric in metrics.values() for sample in metric.samples}
