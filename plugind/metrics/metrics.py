"""The metrics of a server in two forms: Prometheus' text, and the JSON of Nomad's servers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pkgutil import resolve_name
from typing import Any, cast

import orjson

from plugind.metrics.catalogue import CatalogueMetrics
from plugind.metrics.families import BY_NAME, COUNTER, Family
from plugind.metrics.readings import Pace, Reading
from plugind.metrics.server import ServerMetrics
from plugind.metrics.snapshot import Together, summed
from plugind.tally import INTERVAL, Counts, Recent, Tally

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """All metrics: those of the ``catalogue``, and those of the ``server``.

    Both forms can leave out all metrics that name a plugin, an instance or a node. If the server
    has several processes, ``together`` returns the snapshots of all.
    """

    def __init__(
        self,
        catalogue: CatalogueMetrics,
        server: ServerMetrics,
        pace: Pace,
        together: Together | None = None,
    ) -> None:
        self.server = server
        self._pace = pace
        self._together = together
        public: list[Callable[[], Iterable[Reading]]] = [catalogue.totals, self._of_server]
        self._sources = {False: public, True: [catalogue.named, *public]}

    def _of_server(self) -> Iterable[Reading]:
        return self.server.read() if self._together is None else summed(self._together())

    def text(self, *, has_names: bool) -> bytes:
        """Return the metrics in Prometheus' text format, version 0.0.4."""
        snapshots = None if self._together is None else self._together()
        write = resolve_name("plugind.metrics.exposition:text")
        return cast(bytes, write(self._read(has_names), self._pace, snapshots))

    def _read(self, has_names: bool) -> Iterator[Reading]:
        return chain.from_iterable(each() for each in self._sources[has_names])

    def summary(self, *, has_names: bool) -> bytes:
        """Return the metrics as JSON, as Nomad's servers summarise theirs: the current gauges, and
        the events of the last full interval."""
        number = int(time.time() // INTERVAL) - 1
        lists: dict[str, list[bytes]] = {"Counters": [], "Gauges": [], "Points": [], "Samples": []}
        for name, found in self._read(has_names):
            family = BY_NAME[name]
            if isinstance(found, Tally | Counts):
                lists["Counters" if family.kind == COUNTER else "Samples"] += [
                    _json({**_entry(family, labels), **_aggregate(family, recent)})
                    for labels, recent in found.recent(number).items()
                ]
                continue
            lists["Gauges"] += [
                _json({**_entry(family, labels), "Value": value})
                for labels, value in self._pace(found)
                if math.isfinite(value)
            ]
        parts = [b'"%b":[%b]' % (name.encode(), b",".join(each)) for name, each in lists.items()]
        began = datetime.fromtimestamp(number * INTERVAL, UTC)
        parts.append(b'"Timestamp":' + _json(f"{began:%Y-%m-%d %H:%M:%S} +0000 UTC"))
        return b"{%b}" % b",".join(parts)


def _json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _entry(family: Family, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the name of a metric in Nomad's style, and its labels."""
    name = family.name.removesuffix("_total").replace("plugind_", "plugind.", 1)
    return {"Name": name, "Labels": dict(zip(family.labels, labels, strict=True))}


def _aggregate(family: Family, recent: Recent) -> dict[str, Any]:
    """Return the figures of an interval; each event of a counter has the figure 1."""
    if family.kind == COUNTER:
        recent = Recent(recent.count, recent.count, recent.count, 1.0, 1.0)
    return {
        "Count": recent.count,
        "Rate": recent.sum / INTERVAL,
        "Sum": recent.sum,
        "Min": recent.minimum,
        "Max": recent.maximum,
        "Mean": recent.mean,
        "Stddev": recent.deviation,
    }
