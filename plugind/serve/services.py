"""Wires the core of the server together: store, catalogue, intake and liveness."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

from plugind import __version__, logs
from plugind.acl import Acl, acl_of
from plugind.acl.tokens import MANAGEMENT
from plugind.api import PARAMETERS
from plugind.api.access_log import AccessLog
from plugind.api.yielding import in_slices
from plugind.availability.reading import Availability
from plugind.availability.strips import Strips
from plugind.catalogue import Catalogue
from plugind.catalogue.waiting import STREAMS, Waiting
from plugind.config.settings import AS_DOCUMENT, Settings
from plugind.config.tree import raise_any
from plugind.errors import Mistake, StoreError
from plugind.events.broker import Broker
from plugind.events.making import EventMaker
from plugind.feed.feed import Feed
from plugind.feed.hooks import Announcer
from plugind.feed.liveness import Liveness
from plugind.feed.node_log import NodeLog
from plugind.health import Health, Hits
from plugind.intake import Intake
from plugind.intake.admission import Admission
from plugind.metrics import Metrics
from plugind.metrics.catalogue import CatalogueMetrics
from plugind.metrics.server import ServerMetrics
from plugind.model import READY, Beat, node_of
from plugind.model.times import SECOND
from plugind.schemas.plugins import PluginSchemas
from plugind.serve.conditions import Conditions
from plugind.serve.timer import Timer
from plugind.state import State
from plugind.state.flaps import of_the_last_hour
from plugind.store.base import Contents, Retention, Store
from plugind.types.registry import Registry

_CALM_TTLS = 3  # a clone that is alive is heard of within one

_log = logs.get("server")


class Services:
    """The server's parts, running from the moment this is made until ``close``."""

    def __init__(self, settings: Settings, registry: Registry, data_dir: Path) -> None:
        self.settings = settings
        self.registry = registry
        self.acl = acl_of(settings.acl, registry.installed.values())
        _log_warnings(self.acl)
        file = settings.server.access_log
        self.access_log = AccessLog(file, PARAMETERS) if file else None
        schemas = {name: PluginSchemas.of(type_) for name, type_ in registry.types.items()}
        self.schemas = schemas
        self.store = registry.stores[settings.store.name](settings.store.settings, data_dir)
        kept = settings.history
        self.store.retention = Retention(round(kept.keep * SECOND), kept.max_transitions)
        contents = self.store.load()
        self.feed = Feed(self.store, State.of(contents, of_the_last_hour(self.store.history)))
        self.hits = Hits()
        self.timer = Timer("pacing")
        self.run_id = uuid4().hex
        generations = {name: str(registry.origins[name]) for name in registry.types}
        self.catalogue = Catalogue(
            self.feed,
            schemas,
            max_parked=settings.server.max_parked,
            max_parked_share=settings.server.max_parked_share,
            max_view_memory=settings.server.max_view_memory,
            later=self.timer.later,
            hits=self.hits,
            generation=_generation(self.store, settings, generations),
            as_document=settings.wire == AS_DOCUMENT,
            packages=generations,
        )
        self.events = Broker(
            self.feed,
            EventMaker(self.catalogue, schemas, self.store.history),
            Waiting(
                settings.server.max_streams, settings.server.max_parked_share, self.hits, STREAMS
            ),
            replay=settings.events.replay,
            max_backlog=settings.events.max_backlog,
        )
        self.availability = Availability(self.store.history, self.store.runs, time.time_ns())
        self.strips = Strips(self.availability)
        self.announcer = Announcer(registry.receivers)
        self.feed.subscribe(self.announcer)
        self.feed.subscribe(NodeLog())
        self.admission = Admission(
            self.hits,
            maximum=settings.server.max_reports,
            large=settings.server.max_large_reports,
        )
        self.intake = Intake(
            self.store,
            self.feed,
            schemas,
            generations,
            calm=lambda: _CALM_TTLS * self.liveness.ttl,
            limits=settings.server,
        )
        self.liveness = Liveness(
            settings.server.heartbeat_ttl,
            settings.server.gc_threshold,
            {
                node.id: _last_beat(contents, node.id)
                for node in contents.nodes
                if node.status == READY
            },
            silence=self.intake.silence,
            lost=lambda: set(self.feed.state.lost()),
            collect=self.intake.collect,
            remember=self.intake.remember,
            mark=partial(self.intake.mark, self.run_id),
            rate=settings.server.max_heartbeats_per_second,
        )
        self.feed.subscribe(self.liveness)
        self.metrics = self._metrics()
        self.feed.start()
        self.conditions = Conditions(
            feed=self.feed,
            catalogue=self.catalogue,
            timer=self.timer,
            intake=self.intake,
            liveness=self.liveness,
            registry=registry,
            announcer=self.announcer,
            events=self.events,
            access_log=self.access_log,
            hits=self.hits,
        )
        self.intake.declare(settings.declarations)

    def _metrics(self) -> Metrics:
        instances = self.settings.metrics.instances
        heard = self.liveness.heard
        catalogue = CatalogueMetrics(self.catalogue, self.schemas, heard, instances, in_slices)
        server = ServerMetrics(
            feed=self.feed,
            store=self.store,
            intake=self.intake,
            hits=self.hits,
            parked=lambda: self.catalogue.parked,
            streams=lambda: self.events.streams,
            types=tuple(self.schemas),
        )
        return Metrics(catalogue, server, in_slices)

    def health(self) -> tuple[bool, str]:
        """Return whether the server does its work, and a line with all details."""
        condition = self.condition()
        return condition.ok, condition.message

    def condition(self) -> Health:
        """Return whether the last change could be written, and everything else worth knowing."""
        return self.conditions.health()

    def reload(self, settings: Settings) -> None:
        """Put declarations, policies and tokens in force.

        Raise ConfigError for mistakes, which change nothing. Raise StoreError when declarations
        cannot be written: what was revoked is revoked whatever the disk does.
        """
        acl = acl_of(settings.acl, self.registry.installed.values())
        raise_any(self._not_while_running(settings))
        # First, for declare wakes queries that wait, whose rights are decided again.
        self.acl = acl
        _log_warnings(acl)
        try:
            self.intake.declare(settings.declarations)
        except StoreError as error:
            text = f"policies and tokens are in force, the declarations are not: {error}"
            raise StoreError(text) from error
        self.conditions.refused_reload = ""

    def _not_while_running(self, settings: Settings) -> Iterator[Mistake]:
        """Yield the mistakes of a configuration that only a start can put in force."""
        if settings.acl.enabled is not self.settings.acl.enabled:
            yield Mistake("acl.enabled", 0, 0, "is read at start only: restart the server")
        for type_ in sorted({each.key.type for each in settings.declarations}):
            if type_ not in self.registry.types:
                text = "the running server does not have this plugin type: restart it"
                yield Mistake(f'plugin "{type_}"', 0, 0, text)

    def refuse_reload(self, reason: str) -> None:
        """Have health report a failed reload, with its reason, until one succeeds."""
        self.conditions.refused_reload = reason

    def wake(self) -> None:
        """Have every blocking query answered with the present state, and end every stream."""
        self.catalogue.close()
        self.events.end_streams()

    def close(self) -> None:
        """End everything, in the order of the flow; acknowledged changes are durable already."""
        self.wake()
        self.timer.close()
        self.liveness.close()
        self.intake.close()
        self.feed.close()
        self.events.close()
        self.announcer.close()
        for each in self.catalogue.typed.values():
            each.guard.close()
        with suppress(StoreError):  # nothing is left to be written
            self.store.close()
        if self.access_log:
            self.access_log.close()


def _log_warnings(acl: Acl) -> None:
    """Log the warnings about policies and tokens that were just put in force."""
    for warning in acl.warnings:
        _log.warning("a policy or token may not do what it looks like", warning=str(warning))
    if acl.enabled and not any(token.caller.type == MANAGEMENT for token in acl.tokens.values()):
        _log.warning(
            "no token may manage: 'plugind acl token create --type management' makes one, "
            "to be put into the file that acl.tokens names"
        )


def _last_beat(contents: Contents, node_id: str) -> Beat:
    """Return the last beat of a node that the store knows of. Where none was written yet, the node
    was heard when it last changed."""
    return contents.beats.get(node_id) or Beat(contents.stamps[node_of(node_id)].modify_time)


def _generation(store: Store, settings: Settings, generations: Mapping[str, str]) -> str:
    """Return a digest of the store and its renderers: beside the index, answers depend on them."""
    parts = [store.identity, __version__, settings.wire, *sorted(generations.items())]
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
