"""The core's settings as rows: name, type, default, help. The defaults are those of ``settings``.

Metadata of a field: ``help`` for people, ``path`` where relative paths count from the file that
they stand in, ``example`` where the default shows nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields

from plugind.config.settings import (
    WIRES,
    AclSettings,
    ClientSettings,
    PluginTypeChoice,
    Ports,
    ServerSettings,
    Settings,
)
from plugind.fields import Duration, Flag, Number, Record, Text
from plugind.logs import LEVELS


class Word(Text):
    """Text that is not empty."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if not text.strip():
            raise ValidationError("must not be empty.")
        return text


class Level(Text):
    """A level of ``plugind.logs``, in any case."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs).upper()
        if text not in LEVELS:
            raise ValidationError(f"must be one of {', '.join(LEVELS)}.")
        return text


class OneOf(Text):
    """One of a few words."""

    def __init__(self, words: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._words = words

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if text not in self._words:
            raise ValidationError(f"must be one of {', '.join(self._words)}.")
        return text


class ServerAddress(Text):
    """``http://HOST:PORT`` or https; no user or password, which would be told in logs."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            parts = urlsplit(text)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            good = good and "@" not in text
        except ValueError:
            good = False
        if not good:
            raise ValidationError(
                f"must be a server's address, such as {ClientSettings.servers[0]}."
            )
        return text


class FilePath(fields.Field[Path]):
    """A path; relative ones count from the file that they stand in."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs["metadata"] = {"path": True, **kwargs.get("metadata", {})}
        super().__init__(**kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Path:
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValidationError("must be a path in quotes.")
        return Path(value)


class Several(fields.List[Any]):
    """A list that loads into a tuple."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return tuple(super()._deserialize(value, attr, data, **kwargs))


class PortsSchema(Record):
    record = Ports

    http = Number(
        maximum=65535,
        load_default=Ports.http,
        metadata={"help": "port of the HTTP API; 0 takes any free one"},
    )


class ServerSchema(Record):
    record = ServerSettings

    enabled = Flag(
        load_default=ServerSettings.enabled,
        metadata={"help": "whether this process is a server: keeps the catalogue and answers"},
    )
    heartbeat_ttl = Duration(
        minimum=1,
        load_default=ServerSettings.heartbeat_ttl,
        metadata={"help": "how long a node may be silent before it counts as down"},
    )
    gc_threshold = Duration(
        minimum=1,
        load_default=ServerSettings.gc_threshold,
        metadata={"help": "how long what is gone stays listed, unhealthy, before it is forgotten"},
    )
    max_parked = Number(
        minimum=1,
        maximum=4_000,
        load_default=ServerSettings.max_parked,
        metadata={"help": "how many blocking queries may wait at once; more are answered 429"},
    )
    access_log = FilePath(
        load_default=ServerSettings.access_log,
        metadata={
            "help": "file that gets a line of JSON for each request; it may be rotated",
            "example": "/var/log/plugind/access.log",
        },
    )


class ClientSchema(Record):
    record = ClientSettings

    enabled = Flag(
        load_default=ClientSettings.enabled,
        metadata={"help": "whether this process is an agent: watches this machine's plugins"},
    )
    servers = Several(
        ServerAddress(),
        load_default=ClientSettings.servers,
        metadata={"help": "the servers to report to; the next one is tried when one is away"},
    )
    datacenter = Word(
        load_default=ClientSettings.datacenter,
        metadata={"help": "the datacenter that this node is shown in"},
    )
    token_file = FilePath(
        load_default=ClientSettings.token_file,
        metadata={
            "help": "file with the token that reports are sent with",
            "example": "/etc/plugind/agent.token",
        },
    )
    ca_file = FilePath(
        load_default=ClientSettings.ca_file,
        metadata={
            "help": "file with the certificates that https servers are trusted by",
            "example": "/etc/plugind/ca.pem",
        },
    )
    leave_on_terminate = Flag(
        load_default=ClientSettings.leave_on_terminate,
        metadata={
            "help": "whether this node, and its plugins with it, leave the catalogue when the "
            "agent is ended; otherwise they stay expected"
        },
    )


class PluginTypesSchema(Record):
    record = PluginTypeChoice

    enabled = Several(
        Word(),
        load_default=PluginTypeChoice.enabled,
        metadata={
            "help": "the plugin types to use; by default all that are installed",
            "example": ["mine"],
        },
    )
    disabled = Several(
        Word(),
        load_default=PluginTypeChoice.disabled,
        metadata={"help": "installed plugin types not to use", "example": ["mine"]},
    )


class AclSchema(Record):
    record = AclSettings

    enabled = Flag(
        load_default=AclSettings.enabled,
        metadata={"help": "whether tokens are asked for; without it everybody may do everything"},
    )
    policies = FilePath(
        load_default=AclSettings.policies,
        metadata={
            "help": "folder of policies: NAME.hcl or NAME.json is the policy NAME",
            "example": "/etc/plugind/policies",
        },
    )
    tokens = FilePath(
        load_default=AclSettings.tokens,
        metadata={
            "help": "file of tokens, as 'plugind acl token create' prints them; it has only hashes",
            "example": "/etc/plugind/tokens.hcl",
        },
    )


class CoreSchema(Record):
    """All but the labelled blocks ``store``, ``plugin_type`` and ``plugin``."""

    data_dir = FilePath(
        load_default=Settings.data_dir,
        metadata={
            "help": "folder for what must outlive a restart; roles that run need it",
            "example": "/var/lib/plugind",
        },
    )
    bind_addr = Word(
        load_default=Settings.bind_addr,
        metadata={"help": "address that the HTTP API listens on"},
    )
    region = Word(load_default=Settings.region, metadata={"help": "the region that is served"})
    name = Word(
        load_default=socket.gethostname,
        metadata={
            "help": "name that people see this node by",
            "default": "the host's name",
            "example": "machine-7",
        },
    )
    log_level = Level(
        load_default=Settings.log_level,
        metadata={"help": f"least level that is logged: {', '.join(LEVELS)}"},
    )
    log_json = Flag(load_default=Settings.log_json, metadata={"help": "whether log lines are JSON"})
    wire = OneOf(
        WIRES,
        load_default=Settings.wire,
        metadata={
            "help": "the shapes of plugins: those of Nomad's servers, or of its API's document"
        },
    )
    ports = fields.Nested(PortsSchema, load_default=Settings.ports)
    server = fields.Nested(ServerSchema, load_default=Settings.server)
    client = fields.Nested(ClientSchema, load_default=Settings.client)
    acl = fields.Nested(AclSchema, load_default=Settings.acl)
    plugin_types = fields.Nested(PluginTypesSchema, load_default=Settings.plugin_types)
