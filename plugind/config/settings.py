"""The settings of a configuration as frozen dataclasses, with their defaults."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from marshmallow import Schema

from plugind.config.branches import Branch, Leaf
from plugind.config.tree import Place
from plugind.model import Declaration

HOUR = 3600.0
AS_NOMAD, AS_DOCUMENT = WIRES = ("nomad", "document")
NO_INSTANCES, UNHEALTHY_INSTANCES, ALL_INSTANCES = INSTANCES_SHOWN = ("none", "unhealthy", "all")
WAITRESS, GRANIAN, UVICORN = HTTP_SERVERS = ("waitress", "granian", "uvicorn")
SERVER, CLIENT = "server", "client"
"""The roles that a process may have."""


@dataclass(frozen=True)
class Ports:
    http: int = 4646


@dataclass(frozen=True)
class Advertise:
    """Addresses at which others reach this process, HOST or HOST:PORT; "" means detect it."""

    http: str = ""


@dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """The limits on clients of a server.

    Times are in seconds; memory, storage and sizes are in bytes; shares are in percent;
    ``trusted_proxies`` are networks.
    """

    max_connections: int = 8_000
    head_timeout: float = 10.0
    body_timeout: float = 30.0
    send_timeout: float = 30.0
    idle_timeout: float = 120.0
    max_body_memory: int = 64 * 2**20
    max_send_memory: int = 256 * 2**20
    max_receive_memory: int = 64 * 2**20
    max_reports: int = 256
    max_large_reports: int = 2
    max_parked_share: int = 50
    max_list_size: int = 64 * 2**20
    max_view_memory: int = 64 * 2**20
    max_costly_reads: int = 1
    max_waiting_reads: int = 200
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    max_nodes: int = 50_000
    max_nodes_per_token: int = 20_000
    max_instances: int = 150_000
    max_instances_per_token: int = 110_000
    max_storage: int = 320 * 2**20
    max_storage_per_token: int = 224 * 2**20
    max_instance_size: int = 64 * 2**10
    node_secret_keep: float = 90 * 24 * 3600.0
    max_heartbeats_per_second: int = 250
    write_timeout: float = 10.0
    max_waiting_writes: int = 512


DEFAULT_LIMITS = ServerLimits()


@dataclass(frozen=True)
class ServerSettings(ServerLimits):
    """The settings of a server; ``heartbeat_ttl`` and ``gc_threshold`` are in seconds."""

    enabled: bool = False
    heartbeat_ttl: float = 30.0
    gc_threshold: float = 24 * HOUR
    max_parked: int = 200
    max_streams: int = 50
    access_log: Path | None = None
    workers: int = 1
    http: str = WAITRESS

    @property
    def has_workers(self) -> bool:
        """Return whether separate worker processes answer requests."""
        return self.workers > 1 or self.http != WAITRESS


@dataclass(frozen=True)
class ClientSettings:
    enabled: bool = False
    servers: tuple[str, ...] = ("http://127.0.0.1:4646",)
    datacenter: str = "dc1"
    token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    leave_on_terminate: bool = False
    node_class: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    advertise: str = ""


@dataclass(frozen=True)
class AclSettings:
    """The settings of the ACL: ``policies`` is a folder of policy files, ``tokens`` a file of
    tokens.
    """

    enabled: bool = False
    policies: Path | None = None
    tokens: Path | None = None


@dataclass(frozen=True)
class StoreSettings:
    """The store's name, and ``settings`` as its own schema loaded them."""

    name: str = "sqlite"
    settings: Any = None


@dataclass(frozen=True)
class EventsSettings:
    """The settings of event streams; ``max_backlog`` is in bytes."""

    replay: int = 100
    max_backlog: int = 2**20


@dataclass(frozen=True)
class HistorySettings:
    """How long transitions are kept: for ``keep`` seconds, and at most ``max_transitions`` of them;
    None means the default limit of the store.
    """

    keep: float = 30 * 24 * 3600.0
    max_transitions: int | None = None


@dataclass(frozen=True)
class MetricsSettings:
    """Whether anyone may read metrics without a token (then without names), and which ``instances``
    get their own series: one of INSTANCES_SHOWN.
    """

    public: bool = False
    instances: str = UNHEALTHY_INSTANCES


@dataclass(frozen=True)
class PluginTypeChoice:
    """The types to use: all installed types if ``enabled`` is None, else the types that it names;
    in both cases without the ``disabled`` types.
    """

    enabled: tuple[str, ...] | None = None
    disabled: tuple[str, ...] = ()

    def allows(self, name: str) -> bool:
        return name not in self.disabled and (self.enabled is None or name in self.enabled)


@dataclass(frozen=True)
class Written:
    """One part of a configuration as it was written, and the schema that loaded it.

    ``path`` leads to it: ``()`` is the core, ``("plugin_type", "x")`` the block of a plugin type.
    ``branch`` has the merged files, overridden by variables and flags.
    """

    path: tuple[str, ...]
    schema: Schema
    branch: Branch


@dataclass(frozen=True)
class Settings:
    """A whole configuration.

    ``types`` has the settings of every active type as its schema loaded them, whether or not the
    type has a block. ``type_blocks`` has the plain blocks that they were loaded from, after files
    were merged, variables and flags applied, and paths made absolute; they can be written as JSON
    and loaded again by the type's schema. ``type_problems`` has the types that the configuration
    does not name and whose default settings are not sufficient, with the reason; such a type is in
    neither ``types`` nor ``type_blocks``. ``written`` has the sources of all settings, the core
    first.
    """

    data_dir: Path | None = None
    bind_addr: str = "127.0.0.1"
    region: str = "global"
    name: str = field(default_factory=socket.gethostname)
    log_level: str = "INFO"
    log_json: bool = False
    ports: Ports = Ports()
    advertise: Advertise = Advertise()
    server: ServerSettings = ServerSettings()
    client: ClientSettings = ClientSettings()
    store: StoreSettings = StoreSettings()
    history: HistorySettings = HistorySettings()
    events: EventsSettings = EventsSettings()
    metrics: MetricsSettings = MetricsSettings()
    acl: AclSettings = AclSettings()
    wire: str = AS_NOMAD
    plugin_types: PluginTypeChoice = PluginTypeChoice()
    types: Mapping[str, Any] = field(default_factory=dict)
    type_blocks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    type_problems: Mapping[str, str] = field(default_factory=dict)
    declarations: tuple[Declaration, ...] = ()
    written: Sequence[Written] = field(default=(), compare=False, repr=False)

    @property
    def roles(self) -> tuple[str, ...]:
        """Return the roles that are enabled."""
        enabled = {SERVER: self.server.enabled, CLIENT: self.client.enabled}
        return tuple(role for role, is_enabled in enabled.items() if is_enabled)

    def place(self, *path: str | int) -> Place:
        """Return the place of a core setting, as in ``place("client", "servers", 0)``.

        For a setting that is not set, return the place of the innermost block around it, or of the
        last file.
        """
        found: Branch | Leaf = (
            self.written[0].branch if self.written else Branch(Place("configuration"))
        )
        for number, step in enumerate(path):
            if isinstance(found, Leaf):
                return found.parts.get(tuple(path[number:]), found.place)
            if step not in found.children:
                break
            found = found.children[str(step)]
        return found.place
