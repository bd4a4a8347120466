"""Makes the WSGI application of a server."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

from plugind.api import TABLE
from plugind.api.agent import AgentParts
from plugind.api.allocations import AllocationParts
from plugind.api.availability import AvailabilityParts
from plugind.api.cluster import ClusterParts
from plugind.api.events import EventParts
from plugind.api.flask_port import Api
from plugind.api.flow import Flow
from plugind.api.history import HistoryParts
from plugind.api.metrics import MetricsParts
from plugind.api.nodes import NodeParts, fields_of_nodes
from plugind.api.openapi import DocumentParts, rendered
from plugind.api.plugins import PluginParts
from plugind.api.problems import ProblemParts
from plugind.api.request import Signal
from plugind.api.search import SearchParts
from plugind.api.type_rows import type_rows
from plugind.config.settings import HistorySettings
from plugind.filtering import fields_of
from plugind.health import Health
from plugind.serve.parking import Threads
from plugind.serve.services import Services
from plugind.ui import PAGES, UiParts
from plugind.ui.facts import FactsOf
from plugind.ui.shares import Shares
from plugind.ui.throttle import Throttle

Checks = Mapping[str, Callable[[], Health]]
Stats = Mapping[str, Callable[[], Mapping[str, str]]]


def create_app(
    services: Services, address: str, checks: Checks | None = None, stats: Stats | None = None
) -> Api:
    """Return the WSGI application of a server that is reached at ``address``, HOST:PORT.

    ``checks`` and ``stats`` are those of the other roles of the process, by role.
    """
    server, settings = Threads(), services.settings.server
    flow = flow_of(services, address, server.signal, checks or {}, stats or {})
    proxies, access_log = settings.trusted_proxies, services.access_log
    answered = services.metrics.server.answered
    return Api("plugind", flow, (*TABLE, *PAGES), server, proxies, access_log, answered)


def flow_of(
    services: Services,
    address: str,
    signal: Callable[[], Signal],
    checks: Checks,
    stats: Stats,
) -> Flow:
    """Return the flow of requests through a server, with what each group of endpoints needs of it.

    ``signal`` makes the signals of the HTTP server; the rest is as for ``create_app``.
    """
    settings, schemas, catalogue = services.settings, services.schemas, services.catalogue
    parts = (
        AgentParts(
            settings=settings,
            catalogue=catalogue,
            checks={"server": services.condition, **checks},
            stats=stats,
            address=address,
        ),
        AllocationParts(catalogue),
        AvailabilityParts(catalogue, services.availability),
        ClusterParts(address, settings.region),
        DocumentParts(cache(partial(rendered, TABLE, schemas))),
        HistoryParts(catalogue, services.store.history),
        EventParts(services.events, signal),
        MetricsParts(services.metrics),
        NodeParts(
            catalogue=catalogue,
            intake=services.intake,
            admission=services.admission,
            liveness=services.liveness,
            hits=services.hits,
            fields=fields_of_nodes(schemas.values()),
            rejected=services.metrics.server.rejected,
            probes=services.metrics.server.probes,
        ),
        PluginParts(
            catalogue=catalogue,
            intake=services.intake,
            row_fields={name: fields_of(each.row) for name, each in schemas.items()},
            type_rows=cache(partial(type_rows, services.registry, schemas)),
        ),
        ProblemParts(catalogue),
        SearchParts(catalogue),
        ui_parts(services, signal),
        None,  # all that the endpoints of ACLs need comes with the call
    )
    return Flow(
        catalogue=catalogue,
        acl=lambda: services.acl,
        types=services.registry.types,
        region=settings.region,
        limits=settings.server,
        hits=services.hits,
        parts=parts,
        signal=signal,
        has_public_metrics=settings.metrics.public,
    )


def ui_parts(services: Services, signal: Callable[[], Signal]) -> UiParts:
    """Return what the pages need of a server; ``signal`` makes signals of its HTTP server."""
    settings, registry = services.settings, services.registry
    return UiParts(
        catalogue=services.catalogue,
        intake=services.intake,
        facts=FactsOf(registry.types),
        shares=Shares(services.availability, services.strips),
        select=services.store.history,
        types=registry.types,
        row_fields={name: fields_of(each.row) for name, each in services.schemas.items()},
        condition=services.condition,
        limits_reached=lambda: services.hits.counts,
        packages={name: str(registry.origins[name]) for name in registry.types},
        broken=lambda: registry.broken,
        store_size=partial(_size_of, services.data_dir),
        changes=services.page_changes,
        signal=signal,
        streams=lambda: services.events.streams,
        history_kept=_kept(settings.history),
        throttle=Throttle(services.hits),
        names=(settings.name, settings.advertise.http.partition(":")[0]),
        name=settings.name,
        region=settings.region,
        trusted=settings.server.trusted_proxies,
    )


def _kept(history: HistorySettings) -> str:
    """Return in words how long history is kept."""
    days = history.keep / 86_400
    return f"{days:,.3g} days, at most {history.max_transitions:,} transitions"


def _size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder; some may go meanwhile."""
    size = 0
    with suppress(OSError), os.scandir(folder) as files:
        for each in files:
            with suppress(OSError):
                size += each.stat().st_size if each.is_file() else 0
    return size
