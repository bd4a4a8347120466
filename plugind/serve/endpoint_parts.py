"""Makes the parts of a server that each group of endpoints needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial

from plugind.api import TABLE
from plugind.api.agent import AgentParts
from plugind.api.allocations import AllocationParts
from plugind.api.availability import AvailabilityParts
from plugind.api.cluster import ClusterParts
from plugind.api.events import EventParts
from plugind.api.history import HistoryParts
from plugind.api.metrics import MetricsParts
from plugind.api.nodes import NodeParts, fields_of_nodes
from plugind.api.openapi import DocumentParts, rendered
from plugind.api.plugins import PluginParts
from plugind.api.problems import ProblemParts
from plugind.api.request import Signal
from plugind.api.search import SearchParts
from plugind.api.type_rows import type_rows
from plugind.config.settings import Settings
from plugind.filtering import Fields, fields_of
from plugind.health import Health
from plugind.serve.services import Services
from plugind.ui import UiParts
from plugind.ui.availability import AvailabilityOf
from plugind.ui.facts import FactsOf
from plugind.ui.throttle import Throttle

Checks = Mapping[str, Callable[[], Health]]
Stats = Mapping[str, Callable[[], Mapping[str, str]]]


def parts_of(
    services: Services,
    address: str,
    signal: Callable[[], Signal],
    checks: Checks,
    stats: Stats,
) -> tuple[object, ...]:
    """Return the parts of every group of endpoints; the arguments are as for ``flow_of``."""
    settings, catalogue = services.settings, services.catalogue
    return (
        AgentParts(
            settings=settings,
            catalogue=catalogue,
            checks={"server": services.condition, **checks},
            stats=stats,
            parked=services.parked,
            address=address,
        ),
        AllocationParts(catalogue),
        AvailabilityParts(catalogue, services.availability),
        ClusterParts(address, settings.region),
        DocumentParts(cache(partial(rendered, TABLE, services.schemas))),
        HistoryParts(catalogue, services.store.history),
        EventParts(services.events, signal),
        MetricsParts(services.metrics),
        _node_parts(services),
        PluginParts(
            catalogue=catalogue,
            intake=services.intake,
            row_fields=_row_fields(services),
            type_rows=cache(partial(type_rows, services.registry, services.schemas)),
        ),
        ProblemParts(catalogue),
        SearchParts(catalogue),
        _ui_parts(services, signal),
        None,  # the ACL endpoints get all they need with the call
    )


def _node_parts(services: Services) -> NodeParts:
    return NodeParts(
        catalogue=services.catalogue,
        intake=services.intake,
        admission=services.admission,
        liveness=services.liveness,
        hits=services.hits,
        fields=fields_of_nodes(services.schemas.values()),
        rejected=services.metrics.server.rejected,
        probes=services.metrics.server.probes,
    )


def _ui_parts(services: Services, signal: Callable[[], Signal]) -> UiParts:
    settings, registry = services.settings, services.registry
    history = settings.history
    return UiParts(
        catalogue=services.catalogue,
        intake=services.intake,
        facts=FactsOf(registry.types),
        availability=AvailabilityOf(services.availability),
        strips=services.strips,
        select=services.store.history,
        types=registry.types,
        row_fields=_row_fields(services),
        condition=services.condition,
        limits_reached=services.limits_reached,
        packages={name: str(registry.origins[name]) for name in registry.types},
        broken=lambda: registry.broken,
        store_size=lambda: services.store.size,
        changes=services.page_changes,
        signal=signal,
        parked=services.parked,
        streams=services.open_streams,
        history_kept=f"{history.keep / 86_400:,.3g} days, "
        f"at most {services.store.retention.maximum:,} transitions",
        throttle=Throttle(services.hits),
        name=settings.name,
        region=settings.region,
        trusted=settings.server.trusted_proxies,
    )


def _row_fields(services: Services) -> dict[str, Fields]:
    """Return the fields that filters may name, by plugin type."""
    return {name: fields_of(each.row) for name, each in services.schemas.items()}


def names_of(settings: Settings) -> tuple[str, ...]:
    """Return the host names that a server is known by, in addition to its addresses."""
    return settings.name, settings.advertise.http.partition(":")[0]
