"""The pictures of a run: how costs grow with size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.results import Row
from benchmarks.svg import Line, picture


@dataclass(frozen=True)
class Chart:
    """A picture of one ``part`` of several figures; ``sizes`` has the size that each figure stands
    for."""

    name: str
    title: str
    x_label: str
    y_label: str
    part: str
    sizes: Mapping[str, int]
    with_yardsticks: bool = True


_PLUGINS = {"list-10": 10, "list-100": 100, "list-1000": 1_000, "list-10000": 10_000}
_NODES = {"plugin-16": 16, "plugin-1000": 1_000, "plugin-10000": 10_000}
_WATCHERS = {
    "watchers-100": 100,
    "watchers-200": 200,
    "watchers-1000": 1_000,
    "watchers-1000-threads": 1_000,
}
_STREAMS = {"streams-100": 100, "streams-1000": 1_000, "streams-1000-threads": 1_000}
_REPORTS = {"reports-100": 100, "reports-1000": 1_000, "reports-10000": 10_000}
_BEATS = {"beats-100": 100, "beats-1000": 1_000, "beats-10000": 10_000}
_INSTANCES = {"instances-10000": 10_000, "instances": 100_000}

CHARTS = (
    Chart("lists", "Reads of a list", "plugins in the list", "requests/s", "rate", _PLUGINS),
    Chart("plugins", "Reads of one plugin", "nodes it is on", "requests/s", "rate", _NODES),
    Chart("watchers", "Watchers woken", "watchers", "seconds until all are", "woken", _WATCHERS),
    Chart("streams", "Streams with an event", "streams", "seconds until all", "woken", _STREAMS),
    Chart("reports", "Reports", "nodes", "reports/s", "rate", _REPORTS),
    Chart("heartbeats", "Heartbeats", "nodes", "heartbeats/s", "rate", _BEATS, False),
    Chart("start", "Start of a server", "instances", "seconds", "start", _INSTANCES, False),
    Chart("memory", "Memory of a server", "instances", "MiB", "memory", _INSTANCES, False),
)


def drawn(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw each picture for which the run has at least two sizes; return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for chart in CHARTS:
        lines = _lines(chart, rows)
        if lines:
            file = folder / f"{chart.name}.svg"
            file.write_text(picture(chart.title, chart.x_label, chart.y_label, lines))
            files.append(file)
    return files


def _lines(chart: Chart, rows: Sequence[Row]) -> list[Line]:
    """Return a line for each server that was measured at two sizes, and one for its yardstick."""
    chosen = [row for row in rows if row.figure in chart.sizes and row.part == chart.part]
    lines = []
    for kind, server in enumerate(dict.fromkeys(row.server for row in chosen)):
        of = {chart.sizes[row.figure]: row for row in chosen if row.server == server}
        if len(of) < 2:
            continue
        points = [(size, row.value.median) for size, row in of.items()]
        lines.append(Line(f"plugind, {server}", points, kind))
        if chart.with_yardsticks:
            bare = [(size, median(row.yardsticks)) for size, row in of.items()]
            lines.append(Line(f"yardstick, {server}", bare, kind, is_yardstick=True))
    return lines
