"""Wires the server together: store, catalogue, intake, liveness and the HTTP API."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

from plugind import __version__, logs
from plugind.acl import Acl, acl_of
from plugind.acl.tokens import MANAGEMENT
from plugind.announcing import Announcer
from plugind.api import PARAMETERS, TABLE
from plugind.api.access_log import AccessLog
from plugind.api.endpoints import Health, Parts
from plugind.api.openapi import rendered
from plugind.api.serving import Api
from plugind.api.type_rows import type_rows
from plugind.catalogue import Catalogue
from plugind.config.settings import AS_DOCUMENT, Settings
from plugind.config.tree import raise_any
from plugind.errors import Mistake, StoreError
from plugind.filtering import fields_of
from plugind.intake import Intake
from plugind.liveness import Liveness
from plugind.plugin_schemas import PluginSchemas
from plugind.registry import Registry
from plugind.store.base import Store

_CALM_TTLS = 3  # a clone that is alive is heard of within one

_log = logs.get("server")


class Services:
    """The server's parts, running from the moment this is made until ``close``."""

    def __init__(self, settings: Settings, registry: Registry, data_dir: Path) -> None:
        self.settings = settings
        self.registry = registry
        self.acl = acl_of(settings.acl, registry.installed.values())
        _tell(self.acl)
        file = settings.server.access_log
        self.access_log = AccessLog(file, PARAMETERS) if file else None
        schemas = {name: PluginSchemas.of(type_) for name, type_ in registry.types.items()}
        self.schemas = schemas
        self.store = registry.stores[settings.store.name](settings.store.settings, data_dir)
        contents = self.store.load()
        generations = {name: str(registry.origins[name]) for name in registry.types}
        self.catalogue = Catalogue(
            contents,
            schemas,
            max_parked=settings.server.max_parked,
            generation=_generation(self.store, settings, generations),
            as_document=settings.wire == AS_DOCUMENT,
        )
        self.announcer = Announcer(contents, registry.receivers)
        self.intake = Intake(
            self.store,
            contents,
            self.catalogue,
            schemas,
            generations,
            calm=_CALM_TTLS * settings.server.heartbeat_ttl,
            published=self.announcer.publish,
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
        self.intake.declare(settings.declarations)

    def health(self) -> Health:
        """Whether the last change that was to be written was; and what else there is to know."""
        if trouble := self.intake.trouble or self.liveness.trouble:
            return False, trouble
        notes = list(self.announcer.troubles)
        if cloned := self.catalogue.cloned():
            notes.append(f"as {cloned} of the nodes two agents report each")
        if self.access_log and self.access_log.trouble:
            notes.append(self.access_log.trouble)
        if self._refused:
            notes.append(f"the configuration was not reloaded: {self._refused}")
        return True, "; ".join(["ok", *notes])

    def reload(self, settings: Settings) -> None:
        """Puts declarations, policies and tokens in force.

        Raises ConfigError for mistakes, which change nothing. Raises StoreError when declarations
        cannot be written: what was revoked is revoked whatever the disk does.
        """
        acl = acl_of(settings.acl, self.registry.installed.values())
        raise_any(self._not_while_running(settings))
        # First, for declare wakes those who wait, and they are asked for their rights again.
        self.acl = acl
        _tell(acl)
        try:
            self.intake.declare(settings.declarations)
        except StoreError as error:
            text = f"policies and tokens are in force, the declarations are not: {error}"
            raise StoreError(text) from error
        self._refused = ""

    def _not_while_running(self, settings: Settings) -> Iterator[Mistake]:
        """What a configuration has that only a start can put in force."""
        if settings.acl.enabled is not self.settings.acl.enabled:
            yield Mistake("acl.enabled", 0, 0, "is read at start only: restart the server")
        for type_ in sorted({each.key.type for each in settings.declarations}):
            if type_ not in self.registry.types:
                text = "the running server does not have this plugin type: restart it"
                yield Mistake(f'plugin "{type_}"', 0, 0, text)

    def refuse_reload(self, reason: str) -> None:
        """A reload failed: health says so until one succeeds, to anybody who asks."""
        self._refused = reason

    def wake(self) -> None:
        """Lets every blocking query answer with what there is."""
        self.catalogue.close()

    def close(self) -> None:
        """Ends everything, in the order of the flow; what was acknowledged is durable already."""
        self.wake()
        self.liveness.close()
        self.intake.close()
        self.announcer.close()
        with suppress(StoreError):  # nothing is left to be written
            self.store.close()
        if self.access_log:
            self.access_log.close()


def _tell(acl: Acl) -> None:
    """Logs what people should know of policies and tokens that were just put in force."""
    for warning in acl.warnings:
        _log.warning("a policy or token may not do what it looks like", warning=str(warning))
    if acl.enabled and not any(token.caller.type == MANAGEMENT for token in acl.tokens.values()):
        _log.warning(
            "no token may manage: 'plugind acl token create --type management' makes one, "
            "to be put into the file that acl.tokens names"
        )


def create_app(
    services: Services,
    address: str,
    checks: Mapping[str, Callable[[], Health]] | None = None,
    stats: Mapping[str, Callable[[], Mapping[str, str]]] | None = None,
) -> Api:
    """The WSGI application. ``checks`` and ``stats`` are those of the other roles of the process:
    whether they do their work, and what they tell of themselves."""
    parts = Parts(
        settings=services.settings,
        registry=services.registry,
        schemas=services.schemas,
        row_fields={name: fields_of(each.row) for name, each in services.schemas.items()},
        catalogue=services.catalogue,
        intake=services.intake,
        liveness=services.liveness,
        acl=lambda: services.acl,
        checks={"server": services.health, **(checks or {})},
        stats=stats or {},
        address=address,
        openapi=cache(partial(rendered, TABLE, services.schemas)),
        type_rows=cache(partial(type_rows, services.registry, services.schemas)),
    )
    api = Api("plugind", parts, TABLE)
    if services.access_log:
        services.access_log.watch(api)
    return api


def _generation(store: Store, settings: Settings, generations: Mapping[str, str]) -> str:
    """What the bytes of an answer depend on beside the index: the store, and who renders it."""
    parts = [store.identity, __version__, settings.wire, *sorted(generations.items())]
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
