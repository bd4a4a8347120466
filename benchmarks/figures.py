"""The table of figures: a row for each, with what it measures and its target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import quote

from benchmarks.agents import AgentLoad
from benchmarks.capacity import Capacity
from benchmarks.context import Context
from benchmarks.etcd import EtcdReads, EtcdReports
from benchmarks.fleets import large, listed, wide, with_single
from benchmarks.reads import Read
from benchmarks.results import Reach, Row
from benchmarks.servers import GRANIAN, GRANIAN_2, UVICORN, WAITRESS, Front
from benchmarks.variants import Variant
from benchmarks.waiting import Waiting
from benchmarks.writes import PLUGINS, Writes

LIST = "/v1/plugins?type=csi"
PLUGIN = "/v1/plugin/csi/plugin-00000"
READS = {
    WAITRESS.key: Reach(ratio_least=0.9),
    GRANIAN.key: Reach(ratio_least=0.8),
    GRANIAN_2.key: Reach(ratio_least=0.8),
}
_ONE = (WAITRESS, GRANIAN)
_ALL = (WAITRESS, GRANIAN, GRANIAN_2, UVICORN)


class Figure(Protocol):
    """Something that is measured on one server after the other.

    Figures that are ``is_long`` run only with ``--all``. Figures with the same ``order`` follow
    each other, so that they can share servers.
    """

    @property
    def name(self) -> str: ...

    @property
    def what(self) -> str: ...

    @property
    def fronts(self) -> Sequence[Front]: ...

    @property
    def is_long(self) -> bool: ...

    @property
    def order(self) -> str: ...

    def measure(self, context: Context, front: Front) -> list[Row]: ...


def figures(context: Context) -> list[Figure]:
    """Return all figures, in the order of the table."""
    parts = (_reads, _variants, _watchers, _streams, _writes, _on_etcd, _sizes)
    return [figure for part in parts for figure in part(context)]


def _reads(context: Context) -> list[Figure]:
    size = context.scaled
    few, some, rows, many = (listed(size(number)) for number in (10, 100, 1_000, 10_000))
    middle, broad = (wide(size(number)) for number in (1_000, 10_000))
    asked_again = f"{LIST}&filter={quote('NodesHealthy == 16')}"
    new = f"{LIST}&filter={quote('NodesHealthy != 1')}@N@"
    return [
        Read("list-10", "list of 10 plugins", few, LIST, fronts=_ONE, is_long=True),
        Read("list-100", "list of 100 plugins", some, LIST, fronts=_ONE, is_long=True),
        Read("list-1000", "list of 1,000 plugins", rows, LIST, READS, fronts=_ALL),
        Read("list-10000", "list of 10,000 plugins", many, LIST, fronts=_ONE, is_long=True),
        Read("plugin-16", "a plugin on 16 nodes", rows, PLUGIN, READS, fronts=_ALL),
        Read("plugin-1000", "a plugin on 1,000 nodes", middle, PLUGIN, fronts=_ONE, is_long=True),
        Read("plugin-10000", "a plugin on 10,000 nodes", broad, PLUGIN, fronts=_ONE),
        Read("nodes-1000", "list of 1,000 nodes", middle, "/v1/nodes", READS),
        Read("unchanged", "304 for the list of 1,000", rows, LIST, READS, is_known=True),
        Read("gzip", "list of 1,000, gzip", rows, LIST, READS, {"Accept-Encoding": "gzip"}),
        Read("pretty", "list of 1,000, pretty", rows, f"{LIST}&pretty", READS),
        Read("filter-again", "filter of 1,000, asked before", rows, asked_again, READS),
        Read(
            "filter-new",
            "filter of 1,000, not asked before",
            rows,
            new,
            {WAITRESS.key: Reach(least=200)},
        ),
    ]


def _watchers(context: Context) -> list[Figure]:
    size = context.scaled
    whole, small = with_single(listed(size(1_000))), with_single(listed(12))
    meanwhile = {"parked": Reach(ratio_most=2), "waking": Reach(ratio_most=2)}
    soon = {"woken": Reach(most=0.3), **meanwhile}
    many = {"woken": Reach(most=0.6), "memory": Reach(most=350e6 / 2**20), **meanwhile}
    on_waitress, on_granian = {WAITRESS.key: soon}, {GRANIAN.key: soon}
    waitress, granian = (WAITRESS,), (GRANIAN,)
    return [
        Waiting("watchers-100", "100 watchers", whole, size(100), _ONE, is_long=True),
        Waiting("watchers-200", "200 watchers", whole, size(200), waitress, on_waitress),
        Waiting("watchers-1000", "1,000 watchers", whole, size(1_000), granian, on_granian),
        Waiting(
            "watchers-1000-threads", "1,000 watchers", whole, size(1_000), waitress, is_long=True
        ),
        Waiting(
            "watchers-10000",
            "10,000 watchers of 2 kB",
            small,
            size(10_000),
            (GRANIAN,),
            {GRANIAN.key: many},
        ),
    ]


def _streams(context: Context) -> list[Figure]:
    size, fleet = context.scaled, with_single(listed(12))
    return [
        Waiting("streams-100", "100 streams", fleet, size(100), _ONE, is_stream=True, is_long=True),
        Waiting("streams-1000", "1,000 streams", fleet, size(1_000), (GRANIAN,), is_stream=True),
        Waiting(
            "streams-1000-threads",
            "1,000 streams",
            fleet,
            size(1_000),
            (WAITRESS,),
            is_stream=True,
            is_long=True,
        ),
    ]


def _writes(context: Context) -> list[Figure]:
    few, some, many = (wide(context.scaled(size), PLUGINS) for size in (100, 1_000, 10_000))
    report = Reach(ratio_least=0.6, least=1_000)
    reports = dict.fromkeys((WAITRESS.key, GRANIAN.key), report)
    flat = dict.fromkeys((WAITRESS.key, GRANIAN.key), Reach(ratio_least=0.8))
    beats = {WAITRESS.key: Reach(ratio_least=2), GRANIAN.key: Reach(ratio_least=4)}
    return [
        Writes("reports-100", "reports of 100 nodes", few, _ONE, reports),
        Writes("reports-1000", "reports of 1,000 nodes", some, _ONE, reports, is_long=True),
        Writes("reports-10000", "reports of 10,000 nodes", many, _ONE, reports),
        Writes("reports-flat", "reports of 10,000, beside 100", many, _ONE, flat, beside=few),
        Writes("beats-100", "heartbeats of 100 nodes", few, _ONE, beats, True, is_long=True),
        Writes("beats-1000", "heartbeats of 1,000 nodes", some, _ONE, beats, True, is_long=True),
        Writes("beats-10000", "heartbeats of 10,000 nodes", many, _ONE, beats, True),
    ]


def _variants(context: Context) -> list[Figure]:
    rows = listed(context.scaled(1_000))
    logged, scraped = "with the access log", "with metrics read each second"
    return [
        Variant("logged", f"a plugin on 16 nodes, {logged}", rows, PLUGIN, _ONE, logged=True),
        Variant("scraped", f"a plugin on 16 nodes, {scraped}", rows, PLUGIN, _ONE, scraped=True),
    ]


def _on_etcd(context: Context) -> list[Figure]:
    rows, some = listed(context.scaled(1_000)), wide(context.scaled(1_000), PLUGINS)
    reads = (
        Read("etcd-list", "list of 1,000 on etcd", rows, LIST),
        Read("etcd-stale", "list of 1,000 on etcd, stale", rows, f"{LIST}&stale"),
    )
    return [
        EtcdReads("etcd-reads", "reads on etcd", reads, (GRANIAN,)),
        EtcdReports("etcd-reports", "reports of 1,000 nodes into etcd", some, (GRANIAN,)),
    ]


def _sizes(context: Context) -> list[Figure]:
    fleet, middle, small = (
        large(context.scaled(2_000)),
        large(context.scaled(200)),
        large(context.scaled(20)),
    )
    reaches = {"start": Reach(most=2), "memory": Reach(most=150)}
    drivers = context.scaled(50)
    return [
        Capacity("instances", "100,000 instances", fleet, small, _ONE, reaches),
        Capacity("instances-10000", "10,000 instances", middle, small, _ONE, is_long=True),
        AgentLoad("agent", f"an agent with {drivers} drivers", drivers, (GRANIAN,)),
    ]
