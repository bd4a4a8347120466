"""Wires the server together: store, catalogue, intake, liveness and the HTTP API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from plugind.api.agent import Health, agent_blueprint
from plugind.api.nodes import nodes_blueprint
from plugind.api.plugins import plugins_blueprint
from plugind.api.reply import Api
from plugind.catalogue import Catalogue
from plugind.config.settings import Settings
from plugind.errors import StoreError
from plugind.intake import Intake
from plugind.liveness import Liveness
from plugind.model import Declaration
from plugind.plugin_schemas import PluginSchemas
from plugind.registry import Registry

_CALM_TTLS = 3  # a clone that is alive is heard of within one


class Services:
    """The server's parts, running from the moment this is made until ``close``."""

    def __init__(self, settings: Settings, registry: Registry, data_dir: Path) -> None:
        self.settings = settings
        self.registry = registry
        schemas = {name: PluginSchemas.of(type_) for name, type_ in registry.types.items()}
        self.store = registry.stores[settings.store.name](settings.store.settings, data_dir)
        contents = self.store.load()
        self.catalogue = Catalogue(contents, schemas, max_parked=settings.server.max_parked)
        generations = {name: registry.origins[name] for name in registry.types}
        self.intake = Intake(
            self.store,
            contents,
            self.catalogue,
            schemas,
            generations,
            calm=_CALM_TTLS * settings.server.heartbeat_ttl,
        )
        self.liveness = Liveness(
            settings.server.heartbeat_ttl,
            settings.server.gc_threshold,
            [node.id for node in contents.nodes],
            silence=self.intake.silence,
            lost=self.catalogue.lost,
            collect=self.intake.collect,
        )
        self._refused = ""
        self.reload(settings.declarations)

    def health(self) -> Health:
        """Whether the last change that was to be written was; and what else there is to know."""
        if trouble := self.intake.trouble:
            return False, trouble
        notes = [f"two agents report as node {name}" for name in self.catalogue.cloned()]
        if self._refused:
            notes.append(f"the configuration was not reloaded: {self._refused}")
        return True, "; ".join(["ok", *notes])

    def reload(self, declarations: Iterable[Declaration]) -> None:
        """From now on exactly these declarations are in force."""
        self.intake.declare(declarations)
        self._refused = ""

    def refuse_reload(self, reason: str) -> None:
        """A reload was tried and had mistakes: health says so until one succeeds."""
        self._refused = reason

    def wake(self) -> None:
        """Lets every blocking query answer with what there is."""
        self.catalogue.close()

    def close(self) -> None:
        """Ends everything, in the order of the flow; what was acknowledged is durable already."""
        self.wake()
        self.liveness.close()
        self.intake.close()
        with suppress(StoreError):  # nothing is left to be written
            self.store.close()


def create_app(
    services: Services,
    address: str,
    checks: Mapping[str, Callable[[], Health]] | None = None,
) -> Api:
    """The WSGI application. ``checks`` are further health checks, by role of the process."""
    region = services.settings.region
    app = Api("plugind")
    app.register_blueprint(
        plugins_blueprint(services.catalogue, services.intake, services.registry, region)
    )
    app.register_blueprint(
        nodes_blueprint(services.catalogue, services.intake, services.liveness, region)
    )
    app.register_blueprint(agent_blueprint({"server": services.health, **(checks or {})}, address))
    return app
