"""Makes the WSGI application of a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial

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
from plugind.filtering import fields_of
from plugind.health import Health
from plugind.serve.parking import Threads
from plugind.serve.services import Services

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
    return Api("plugind", flow, TABLE, server, proxies, access_log, answered)


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
