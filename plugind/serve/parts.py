"""Makes the parts of a server from its settings and from parts made earlier."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from plugind import __version__
from plugind.acl import Acl
from plugind.api.access_log import AccessLog
from plugind.api.yielding import in_slices
from plugind.catalogue import Catalogue
from plugind.catalogue.waiting import STREAMS, Waiting
from plugind.config.settings import AS_DOCUMENT, Settings
from plugind.events.broker import Broker
from plugind.events.making import EventMaker
from plugind.feed.feed import Feed
from plugind.feed.hooks import Announcer
from plugind.feed.liveness import Liveness
from plugind.feed.running import Running
from plugind.health import Hits
from plugind.intake import Intake
from plugind.intake.admission import Admission
from plugind.metrics.catalogue import CatalogueMetrics
from plugind.metrics.metrics import Metrics
from plugind.metrics.server import ServerMetrics
from plugind.metrics.snapshot import Snapshot
from plugind.model import READY, Beat, node_of
from plugind.model.times import SECOND
from plugind.schemas.plugins import PluginSchemas
from plugind.serve.board import Board
from plugind.serve.conditions import Conditions
from plugind.serve.peers import Peers
from plugind.serve.timer import Timer
from plugind.store.base import Contents, Retention, Store
from plugind.types.registry import Registry

_CALM_TTLS = 3  # a live clone sends a heartbeat within one


class Made(Protocol):
    """The parts of a server that others are made from."""

    settings: Settings
    registry: Registry
    schemas: Mapping[str, PluginSchemas]
    store: Store
    feed: Feed
    hits: Hits
    timer: Timer
    catalogue: Catalogue
    streams: Waiting
    events: Broker
    announcer: Announcer
    access_log: AccessLog | None
    intake: Intake
    liveness: Liveness
    running: Running
    metrics: Metrics
    conditions: Conditions
    peers: Peers | None

    def limits_reached(self) -> Mapping[str, int]: ...


@dataclass(frozen=True, slots=True)
class Worker:
    """What the parent process gives each of the worker processes that form one server: a place on
    their board, the policies and tokens in force, and whether it writes the declarations."""

    board: Board
    place: int
    acl: Acl
    declares: bool


def store_of(settings: Settings, registry: Registry, data_dir: Path, *, shared: bool) -> Store:
    """Open and return the store that the settings name. Raise StoreError."""
    made = registry.stores[settings.store.name]
    store = made(settings.store.settings, data_dir, shared=shared)
    kept = settings.history
    maximum = kept.max_transitions or store.retention.maximum
    store.retention = Retention(round(kept.keep * SECOND), maximum)
    return store


def catalogue_of(made: Made) -> Catalogue:
    """Return the catalogue of a feed."""
    settings, packages = made.settings, _packages(made.registry)
    parts = [made.store.identity, __version__, settings.wire, *sorted(packages.items())]
    # In addition to the index, answers depend on the store and on the code that renders them.
    generation = hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
    return Catalogue(
        made.feed,
        made.schemas,
        max_parked=settings.server.max_parked,
        max_parked_share=settings.server.max_parked_share,
        max_view_memory=settings.server.max_view_memory,
        later=made.timer.later,
        hits=made.hits,
        generation=generation,
        as_document=settings.wire == AS_DOCUMENT,
        packages=packages,
    )


def streams_of(made: Made) -> Waiting:
    """Return the places for all streams, those of events and of pages."""
    limits = made.settings.server
    return Waiting(limits.max_streams, limits.max_parked_share, made.hits, STREAMS)


def events_of(made: Made) -> Broker:
    """Return the broker that passes events to streams."""
    events = made.settings.events
    return Broker(
        made.feed,
        EventMaker(made.catalogue, made.schemas, made.store.history, made.store.deleted_until),
        made.streams,
        replay=events.replay,
        max_backlog=events.max_backlog,
    )


def admission_of(made: Made) -> Admission:
    """Return the part that admits reports."""
    limits = made.settings.server
    return Admission(made.hits, maximum=limits.max_reports, large=limits.max_large_reports)


def intake_of(made: Made) -> Intake:
    """Return the part that plans and writes changes."""
    return Intake(
        made.store,
        made.feed,
        made.schemas,
        _packages(made.registry),
        calm=lambda: _CALM_TTLS * made.liveness.ttl,
        limits=made.settings.server,
    )


def liveness_of(made: Made, contents: Contents) -> Liveness:
    """Return the part that marks nodes as down; at first it watches the nodes that are ready
    according to ``contents``."""
    server, intake = made.settings.server, made.intake
    ready = (node.id for node in contents.nodes if node.status == READY)
    # If no heartbeat was written yet, the node was last heard from when it last changed.
    beats = {
        each: contents.beats.get(each) or Beat(contents.stamps[node_of(each)].modify_time)
        for each in ready
    }
    probes = made.metrics.server.probes

    def seen(node_id: str, beat: Beat) -> None:
        intake.heard_elsewhere(node_id, beat)
        probes.heard_elsewhere(node_id, beat.heard)

    return Liveness(
        server.heartbeat_ttl,
        server.gc_threshold,
        beats,
        silence=intake.silence,
        lost=lambda: set(made.feed.state.lost()),
        collect=intake.collect,
        remember=intake.remember,
        mark=made.running.mark,
        rate=server.max_heartbeats_per_second,
        shared=made.store if made.store.is_shared else None,
        seen=seen,
    )


def metrics_of(made: Made, worker: Worker | None) -> Metrics:
    """Return the metrics of all other parts, in all processes of a server."""
    instances = made.settings.metrics.instances

    def heard() -> Mapping[str, Beat]:
        return made.liveness.heard()

    catalogue = CatalogueMetrics(made.catalogue, made.schemas, heard, instances, in_slices)
    server = ServerMetrics(
        feed=made.feed,
        store=made.store,
        intake=made.intake,
        hits=made.hits,
        parked=lambda: made.catalogue.parked,
        streams=lambda: made.events.streams,
        types=tuple(made.schemas),
    )

    def together() -> Sequence[Snapshot]:
        assert made.peers is not None
        return made.peers.together()

    return Metrics(catalogue, server, in_slices, together if worker else None)


def peers_of(made: Made, worker: Worker) -> Peers:
    """Return the processes of a server, and begin to publish the counters of this one."""
    read, health = made.metrics.server.read, made.conditions.health
    peers = Peers(worker.board, worker.place, read, health)
    made.conditions.threads.append(lambda: [peers.thread])
    peers.start()
    return peers


def conditions_of(made: Made) -> Conditions:
    """Return the part that gathers the health of all others."""
    return Conditions(
        store=made.store,
        feed=made.feed,
        catalogue=made.catalogue,
        timer=made.timer,
        intake=made.intake,
        liveness=made.liveness,
        registry=made.registry,
        announcer=made.announcer,
        events=made.events,
        access_log=made.access_log,
        limits_reached=made.limits_reached,
    )


def _packages(registry: Registry) -> dict[str, str]:
    """Return the package of each plugin type."""
    return {name: str(registry.origins[name]) for name in registry.types}
