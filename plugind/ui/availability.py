"""The availability of plugins and nodes, as pages show it: as numbers and as small charts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from markupsafe import Markup

from plugind.api.availability import last_windows, rounded_share, rows_of
from plugind.api.yielding import in_slices
from plugind.availability.reading import Availability, Measured
from plugind.availability.strips import Strip
from plugind.availability.sums import Sums, Window
from plugind.model import PluginKey, history_of, node_of
from plugind.model.times import SECOND
from plugind.state import State
from plugind.ui.tables import Table

MINUTE = 60 * SECOND
KEPT_MAXIMUM = 500

PARTS = {
    "Healthy": "good",
    "Unhealthy": "bad",
    "NodeDown": "away",
    "Unknown": "unknown",
}
"""The parts that a window is divided into, with the CSS class of each."""

_WHOLE, _LEAST = 1000, 6  # width of a window, and the least width of a part in it
_HEIGHT, _STEP = 16, 4  # height of an hour's bar in a strip, and the distance between bars

Rows = Sequence[Mapping[str, Any]]
"""The rows that the API answers with."""

Measure = Callable[[Sequence[Window], int], Measured]


class AvailabilityOf:
    """Reads availability for pages. Because open pages ask again after each change in the fleet, a
    result is kept until the next minute begins or something happens to the plugin or node.

    Thread-safe: at worst, a result is read twice.
    """

    def __init__(self, availability: Availability) -> None:
        self._availability = availability
        self._kept: dict[str, tuple[tuple[int, int], Rows]] = {}

    def of_plugin(self, state: State, key: PluginKey) -> Rows:
        """Return the availability of a plugin by role. Raise StoreError."""
        measure = partial(self._availability.of_plugin, state, key, pace=in_slices)
        return self._of(state, history_of(key), measure, key.id)

    def of_node(self, state: State, node_id: str) -> Rows:
        """Return the availability of a node's instances by type and role. Raise StoreError."""
        measure = partial(self._availability.of_node, state, node_id, pace=in_slices)
        return self._of(state, node_of(node_id), measure, "")

    def _of(self, state: State, resource: str, measure: Measure, id_: str) -> Rows:
        now = time.time_ns()
        version = state.changed_at(resource), now // MINUTE
        found = self._kept.get(resource)
        if found is None or found[0] != version:
            windows = last_windows(now)
            rows = rows_of(measure(list(windows.values()), now), windows, id_)
            if len(self._kept) >= KEPT_MAXIMUM:
                self._kept = {}
            found = self._kept[resource] = version, rows
        return found[1]


def availability_table(rows: Rows) -> Table:
    """Return availability as a table."""
    columns = ("Availability", "AnyHealthy", *PARTS, "Observed")
    cells = (
        (
            *(row["Type"], row["ID"], row["Role"], each["Window"]),
            *(each[name] for name in columns),
        )
        for row in rows
        for each in row["Windows"]
    )
    return Table(("Type", "ID", "Role", "Window", *columns), cells)


def parts_of(window: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Yield the class, the start and the width of each part of a window that is not empty. Every
    such part is wide enough to be seen."""
    total = sum(window[name] for name in PARTS)
    widths = {
        class_: max(_LEAST, round(_WHOLE * window[name] / total)) if window[name] else 0
        for name, class_ in PARTS.items()
    }
    start = 0
    scale = _WHOLE / (sum(widths.values()) or 1)
    for class_, width in widths.items():
        if width:
            end = start + round(width * scale)
            yield class_, start, end - start
            start = end


def day_of(strip: Strip) -> Sums:
    """Return the sums over all hours of a strip."""
    total = Sums()
    for hour in strip:
        total = total.plus(hour)
    return total


def strip_picture(strip: Strip) -> Markup:
    """Return the SVG paths that draw a strip: for each hour a bar, as high as the healthy share,
    on a background that shows the rest."""
    return _drawn(tuple(map(_level, strip)))


def _level(hour: Sums) -> int:
    """Return the height of an hour's bar, -1 if nothing is known about the hour. The bar is full
    only if the availability was 1, and empty only if it was 0."""
    if hour.availability is None:
        return -1
    share = rounded_share(hour.availability) or 0
    return _HEIGHT if share == 1 else min(_HEIGHT - 3, max(2, round(_HEIGHT * share))) * (share > 0)


@lru_cache(1024)
def _drawn(levels: tuple[int, ...]) -> Markup:
    paths: dict[str, str] = {}
    for number, level in enumerate(levels):
        x = number * _STEP + 1.5
        if 0 <= level < _HEIGHT:
            paths["bad"] = f"{paths.get('bad', '')}M{x} 0V{_HEIGHT - level}"
        if level:
            name = {-1: "unknown", _HEIGHT: "good"}.get(level, "some")
            top = _HEIGHT - 2 if level < 0 else _HEIGHT - level
            paths[name] = f"{paths.get(name, '')}M{x} {_HEIGHT}V{top}"
    return Markup("").join(
        Markup('<path class="{}" d="{}"/>').format(*each) for each in paths.items()
    )


def percent(share: float | None) -> str:
    """Return a share in percent, rounded down so that a short failure is not shown as 100 %."""
    rounded = rounded_share(share)
    if rounded is None:
        return "not known"
    if rounded == 1:
        return "100 %"
    return f"{max(round(rounded * 1e6) // 100, rounded > 0) / 100:.2f} %"


def span(seconds: float) -> str:
    """Return a duration as text for people: ``45 s``, ``12 min``, ``3.4 h``, ``12.5 d``."""
    for unit, length, below in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 100)):
        if seconds < below * length:
            return f"{seconds / length:.0f} {unit}" if unit != "h" else f"{seconds / length:.1f} h"
    return f"{seconds / 86400:,.1f} d"
