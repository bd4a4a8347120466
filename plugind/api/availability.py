"""``/availability`` of a plugin or a node: how much of the time instances were healthy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

import orjson

from plugind.api.endpoints import Call, Endpoints, Given, Source, node_read
from plugind.api.moments import TIME, moment
from plugind.api.nodes import NOT_FOUND as NO_NODE
from plugind.api.plugins import NOT_FOUND as NO_PLUGIN
from plugind.api.plugins import may_read_plugin
from plugind.api.yielding import in_slices
from plugind.availability.reading import Availability, Measured
from plugind.availability.sums import Sums, Window
from plugind.catalogue import Catalogue, Reading
from plugind.errors import BadRequest
from plugind.model import PluginKey, history_of, node_of
from plugind.model.times import SECOND
from plugind.schemas.availability import AvailabilitySchema

DAY = 24 * 3600 * SECOND
WINDOWS = {"24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
"""The windows of an answer if the request gives none."""

_SHARES = 10**6
_ROWS = AvailabilitySchema(many=True)
_PARAMETERS = {
    "since": Given("one window from this time (RFC 3339), or so far back, such as 24h", TIME),
    "until": Given("one window that ends then; without since it has 24 hours", TIME),
}


@dataclass(frozen=True, slots=True)
class AvailabilityParts:
    """The parts that the availability endpoints need."""

    catalogue: Catalogue
    availability: Availability


endpoints = Endpoints(AvailabilityParts)


@endpoints.read(
    "/v1/plugin/<type_>/<id_>/availability",
    need=may_read_plugin,
    answer=_ROWS,
    parameters=_PARAMETERS,
    errors=(404,),
)
def read_plugin_availability(call: Call[AvailabilityParts], type_: str, id_: str) -> Source:
    """Read how much of the time a plugin was healthy, by role, in the last 24 hours, 7 days and 30
    days.

    docs/history.md defines the numbers. For a plugin that is gone, they go back as far as the
    history that is kept of it.
    """
    catalogue, availability = call.parts.catalogue, call.parts.availability
    key = catalogue.named(PluginKey(type_, id_))

    def measure(windows: Sequence[Window], now: int) -> Measured:
        return availability.of_plugin(catalogue.state, key, windows, now, in_slices)

    is_known = catalogue.has_plugin(key)
    resource = history_of(key) if is_known else key.resource
    return _source(call, resource, is_known, measure, NO_PLUGIN, key.id)


@endpoints.read(
    "/v1/node/<node_id>/availability",
    need=node_read,
    answer=_ROWS,
    parameters=_PARAMETERS,
    errors=(404,),
)
def read_node_availability(call: Call[AvailabilityParts], node_id: str) -> Source:
    """Read how much of the time a node's instances were healthy, by type and role, in the last 24
    hours, 7 days and 30 days.

    docs/history.md defines the numbers. For a node that is gone, they go back as far as the history
    that is kept of it.
    """
    catalogue, availability = call.parts.catalogue, call.parts.availability

    def measure(windows: Sequence[Window], now: int) -> Measured:
        return availability.of_node(catalogue.state, node_id, windows, now, in_slices)

    is_known = catalogue.has_node(node_id)
    return _source(call, node_of(node_id), is_known, measure, NO_NODE)


def _source(
    call: Call[AvailabilityParts],
    resource: str,
    is_known: bool,
    measure: Callable[[Sequence[Window], int], Measured],
    missing: str,
    id_: str = "",
) -> Source:
    """Return the source of an availability read. Raise BadRequest for an invalid window."""
    catalogue = call.parts.catalogue
    _windows(call.asked.query, time.time_ns())

    def look() -> Reading:
        now = time.time_ns()
        windows = _windows(call.asked.query, now)
        index, _ = catalogue.changed_at(resource)
        measured = measure([Window(min(a, now), min(b, now)) for a, b in windows.values()], now)
        if not is_known and not measured.sums:
            return Reading(index, None)
        rows = rows_of(measured, windows, id_)
        return Reading(index, orjson.dumps(_ROWS.dump(rows), option=orjson.OPT_SORT_KEYS))

    return Source(resource, look, missing, personal=True, is_kept=False)


def last_windows(now: int) -> Mapping[str, Window]:
    """Return the windows that end now, by name."""
    return {name: Window(now - span, now) for name, span in WINDOWS.items()}


def rows_of(measured: Measured, windows: Mapping[str, Window], id_: str) -> list[dict[str, Any]]:
    """Return rows, to be dumped, of what was measured over windows. ``id_`` is the plugin's ID, ""
    for a node."""
    return [
        {
            "Type": group.type,
            "ID": id_,
            "Role": group.role,
            "Windows": [
                _window(name, window, measured.since, sums)
                for (name, window), sums in zip(windows.items(), of_group, strict=True)
            ],
        }
        for group, of_group in measured.sums.items()
    ]


def _windows(query: Mapping[str, str], now: int) -> Mapping[str, Window]:
    """Return the windows that a request asks for. Raise BadRequest for an invalid one."""
    if not (query.get("since") or query.get("until")):
        return last_windows(now)
    until = moment(query, "until", now, now)
    since = moment(query, "since", now, max(0, until - DAY))
    if since > until:
        raise BadRequest("Invalid since: it is later than until")
    return {"": Window(since, until)}


def rounded_share(value: float | None) -> float | None:
    """Return a share rounded down to six decimals, so that even a short failure shows. A share
    above 0 is never rounded to 0."""
    if value is None or value in (0, 1):
        return value
    return min(max(floor(round(value * _SHARES, 3)), 1), _SHARES - 1) / _SHARES


def _window(name: str, window: Window, known_since: int, sums: Sums) -> dict[str, Any]:
    def seconds(nanoseconds: float) -> float:
        return round(nanoseconds / SECOND, 3)

    return {
        "Window": name,
        "Since": window.start,
        "Until": window.end,
        "KnownSince": max(window.start, known_since),
        "Healthy": seconds(sums.healthy),
        "Unhealthy": seconds(sums.unhealthy),
        "NodeDown": seconds(sums.node_down),
        "Unknown": seconds(sums.unknown),
        "Observed": seconds(sums.observed),
        "Availability": rounded_share(sums.availability),
        "AnyHealthy": rounded_share(sums.any_share),
    }
