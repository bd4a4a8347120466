"""What configuration comes to: frozen values, and the defaults of what it leaves out."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plugind.model import Declaration

HOUR = 3600.0
AS_NOMAD, AS_DOCUMENT = WIRES = ("nomad", "document")


@dataclass(frozen=True)
class Ports:
    http: int = 4646


@dataclass(frozen=True)
class ServerSettings:
    """``heartbeat_ttl`` and ``gc_threshold`` are in seconds."""

    enabled: bool = False
    heartbeat_ttl: float = 30.0
    gc_threshold: float = 24 * HOUR
    max_parked: int = 200
    access_log: Path | None = None


@dataclass(frozen=True)
class ClientSettings:
    enabled: bool = False
    servers: tuple[str, ...] = ("http://127.0.0.1:4646",)
    datacenter: str = "dc1"
    token_file: Path | None = None
    ca_file: Path | None = None
    leave_on_terminate: bool = False


@dataclass(frozen=True)
class AclSettings:
    """``policies`` is a folder of policy files, ``tokens`` a file of tokens."""

    enabled: bool = False
    policies: Path | None = None
    tokens: Path | None = None


@dataclass(frozen=True)
class StoreSettings:
    """``settings`` is what the store's own schema loaded."""

    name: str = "sqlite"
    settings: Any = None


@dataclass(frozen=True)
class PluginTypeChoice:
    """The types to use: all that are installed (``enabled`` None) or those named, without those
    that are disabled."""

    enabled: tuple[str, ...] | None = None
    disabled: tuple[str, ...] = ()

    def allows(self, name: str) -> bool:
        return name not in self.disabled and (self.enabled is None or name in self.enabled)


@dataclass(frozen=True)
class Settings:
    """A whole configuration.

    ``types`` has what the settings schema of every active type loaded, with or without a block of
    its own. ``type_blocks`` has the plain blocks they were loaded from: files merged, variables
    and flags applied, paths absolute; JSON can hold them, and the type's schema load them again.
    ``type_problems`` says why a type that nothing asks for cannot do with its default settings; it
    stands in neither of the other two.
    """

    data_dir: Path | None = None
    bind_addr: str = "127.0.0.1"
    region: str = "global"
    name: str = field(default_factory=socket.gethostname)
    log_level: str = "INFO"
    log_json: bool = False
    ports: Ports = Ports()
    server: ServerSettings = ServerSettings()
    client: ClientSettings = ClientSettings()
    store: StoreSettings = StoreSettings()
    acl: AclSettings = AclSettings()
    wire: str = AS_NOMAD
    plugin_types: PluginTypeChoice = PluginTypeChoice()
    types: Mapping[str, Any] = field(default_factory=dict)
    type_blocks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    type_problems: Mapping[str, str] = field(default_factory=dict)
    declarations: tuple[Declaration, ...] = ()
