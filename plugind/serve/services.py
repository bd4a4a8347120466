"""Wires the core of the server together: store, catalogue, intake and liveness."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from plugind import logs
from plugind.api import PARAMETERS
from plugind.api.access_log import AccessLog
from plugind.availability.reading import Availability
from plugind.availability.strips import Strips
from plugind.config.settings import Settings
from plugind.errors import StoreError
from plugind.feed.feed import Feed
from plugind.feed.hooks import Announcer
from plugind.feed.node_log import NodeLog
from plugind.feed.running import Running
from plugind.health import Health, Hits
from plugind.intake import Intake
from plugind.schemas.plugins import PluginSchemas
from plugind.serve import parts
from plugind.serve.in_one import InOne
from plugind.serve.parts import Worker
from plugind.serve.peers import Peers
from plugind.serve.reloading import acl_at_start, reloaded_acl
from plugind.serve.timer import Timer
from plugind.state import State
from plugind.state.flaps import of_the_last_hour
from plugind.types.registry import Registry
from plugind.ui import PARAMETERS as UI_PARAMETERS
from plugind.ui.changes import Changes

_log = logs.get("server")


class Services:
    """The server's parts, which run from the creation of this object until ``close``.

    ``shared``: other processes of the machine open the store, too. ``worker`` is given if this is
    one of several processes that form one server.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        data_dir: Path,
        *,
        shared: bool = False,
        worker: Worker | None = None,
    ) -> None:
        self.settings = settings
        self.registry = registry
        if worker is None:
            self.acl = acl_at_start(settings, registry)
        else:
            self.acl = worker.acl
        file = settings.server.access_log
        self.access_log = AccessLog(file, PARAMETERS | UI_PARAMETERS) if file else None
        self.schemas: Mapping[str, PluginSchemas] = {
            name: PluginSchemas.of(type_) for name, type_ in registry.types.items()
        }
        shared = shared or worker is not None
        self.store = parts.store_of(settings, registry, data_dir, shared=shared)
        contents = self.store.load()
        self.feed = Feed(self.store, State.of(contents, of_the_last_hour(self.store.history)))
        self.hits = Hits()
        self.timer = Timer("pacing")
        # Each of these subscribes to the feed; they are notified of changes in this order.
        self.catalogue = parts.catalogue_of(self)
        self.streams = parts.streams_of(self)
        self.events = parts.events_of(self)
        self.page_changes = Changes(self.streams)
        self.feed.subscribe(self.page_changes)
        self.announcer = Announcer(registry.receivers)
        self.feed.subscribe(InOne(self.announcer, self._leads))
        self.feed.subscribe(InOne(NodeLog(), self._leads))
        self.running = Running(lambda run: self.intake.mark(run))
        self.availability = Availability(
            self.store.history, self.store.runs, self.running.at, self.store.deleted_until
        )
        self.strips = Strips(self.availability)
        self.admission = parts.admission_of(self)
        self.intake: Intake = parts.intake_of(self)
        self.peers: Peers | None = None
        self.metrics = parts.metrics_of(self, worker)
        self.liveness = parts.liveness_of(self, contents)
        self.feed.subscribe(self.liveness)
        self.conditions = parts.conditions_of(self)
        if worker is not None:
            self.peers = parts.peers_of(self, worker)
        self.feed.start()
        if worker is None or worker.declares:
            self._declare_at_start()

    def _declare_at_start(self) -> None:
        """Write the declarations of the configuration, unless another server may have written newer
        ones: then an operator decides, by a reload, which are in force."""
        wanted = {each.key: each for each in self.settings.declarations}
        held = self.feed.refresh().declarations
        if not (self.store.has_other_servers and held):
            self.intake.declare(wanted.values())
        elif wanted != dict(held.items()):
            keys = sorted(
                f"{key.type}/{key.id}"
                for key in {*wanted, *held}
                if wanted.get(key) != held.get(key)
            )
            self.conditions.other_declarations = ", ".join(keys)
            _log.warning(
                "the store has other declarations than the configuration; a reload writes those of "
                "the configuration",
                plugins=self.conditions.other_declarations,
            )

    def health(self) -> tuple[bool, str]:
        """Return whether the server works, and a line with all details."""
        condition = self.condition()
        return condition.ok, condition.message

    def condition(self) -> Health:
        """Return whether the last change could be written, and everything else worth knowing, in
        all processes of the server."""
        return self.conditions.health() if self.peers is None else self.peers.health()

    def parked(self) -> int:
        """Return how many blocking queries wait, in all processes of the server."""
        return self._sum("plugind_parked_queries", self.catalogue.parked)

    def open_streams(self) -> int:
        """Return how many streams are open, in all processes of the server."""
        return self._sum("plugind_streams", self.events.streams)

    def limits_reached(self) -> Mapping[str, int]:
        """Return how often each limit was reached, in all processes of the server."""
        own = self.hits.counts
        if self.peers is None:
            return own
        sums = self.peers.sums("plugind_limit_hits_total", {(name,): n for name, n in own.items()})
        return {limit: int(count) for (limit,), count in sorted(sums.items())}

    def _leads(self) -> bool:
        """Return whether this process does the work of only one of the server's processes."""
        return self.peers is None or self.peers.leads

    def _sum(self, name: str, own: int) -> int:
        return own if self.peers is None else int(self.peers.sums(name, {(): own})[()])

    def reload(self, settings: Settings) -> None:
        """Put declarations, policies and tokens into force.

        Raise ConfigError for mistakes in the configuration; then nothing changes. Raise StoreError
        if declarations cannot be written; even then, policies and tokens are in force, so that a
        revoked token stays revoked.
        """
        acl = reloaded_acl(self.settings, self.registry, settings)
        # First, because declare wakes waiting queries, which are then authorized again.
        self.acl = acl
        self.declare(settings)
        self.conditions.refused_reload = ""

    def declare(self, settings: Settings) -> None:
        """Put the declarations of a reload into force. Raise StoreError."""
        try:
            self.intake.declare(settings.declarations)
            self.conditions.other_declarations = ""
        except StoreError as error:
            text = f"policies and tokens are in force, the declarations are not: {error}"
            raise StoreError(text) from error

    def refuse_reload(self, reason: str) -> None:
        """Have health report a failed reload, with its reason, until one succeeds."""
        self.conditions.refused_reload = reason

    def wake(self) -> None:
        """Have every blocking query answered with the current state, and end every stream."""
        self.catalogue.close()
        self.events.end_streams()

    def close(self) -> None:
        """Stop all parts in the order in which changes pass through them. Acknowledged changes are
        durable already."""
        self.wake()
        if self.peers is not None:
            self.peers.close()
        self.timer.close()
        self.liveness.close()
        self.intake.close()
        self.feed.close()
        self.events.close()
        self.announcer.close()
        self.catalogue.end()
        with suppress(StoreError):  # nothing is left to be written
            self.store.close()
        if self.access_log:
            self.access_log.close()
