"""The core's settings as rows: name, type, default, help. The defaults are those of ``settings``.

Metadata of a field: ``help`` for people; ``path`` where relative paths count from the file that
they are written in; ``example`` where the default shows nothing; ``secret`` where the value must
not be shown. ``reload`` has the roles in which a reload puts a changed value in force; in all
others, and without this metadata, only a restart does.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields, validate

from plugind.config.limits import Several
from plugind.config.metrics import MetricsSchema
from plugind.config.processes import ServerProcessesSchema
from plugind.config.settings import (
    CLIENT,
    SERVER,
    WIRES,
    AclSettings,
    Advertise,
    ClientSettings,
    EventsSettings,
    HistorySettings,
    PluginTypeChoice,
    Ports,
    ServerSettings,
    Settings,
)
from plugind.logs import LEVELS
from plugind.schemas.nodes import (
    META_KEY_MAXIMUM,
    META_MAXIMUM,
    META_SIZE_MAXIMUM,
    META_VALUE_MAXIMUM,
    NODE_CLASS_MAXIMUM,
    size_of_labels,
)
from plugind.wire import addresses
from plugind.wire.fields import Duration, Flag, Number, Record, Text


def not_blank(text: str) -> None:
    """Raise ValidationError for a text without visible characters."""
    if not text.strip():
        raise ValidationError("must not be empty.")


class Level(Text):
    """A level of ``plugind.logs``, in any case."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs).upper()
        if text not in LEVELS:
            raise ValidationError(f"must be one of {', '.join(LEVELS)}.")
        return text


def server_address(text: str) -> None:
    """Raise ValidationError for a text other than ``http://HOST:PORT`` or https.

    A user and password are refused, for they would appear in logs.
    """
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        good = good and "@" not in text
    except ValueError:
        good = False
    if not good:
        raise ValidationError(f"must be a server's address, such as {ClientSettings.servers[0]}.")


def own_address(text: str) -> None:
    """Raise ValidationError for an address that others cannot connect to; "" is allowed."""
    if not text:
        return
    try:
        host, _ = addresses.split(text)
    except ValueError as error:
        raise ValidationError("must be a host or HOST:PORT, such as 10.0.0.5:4646.") from error
    if addresses.is_unspecified(host):
        raise ValidationError(
            f"must be an address that others can connect to, such as 10.0.0.5: {host} is the "
            "address of no machine."
        )


def meta_key(text: str) -> None:
    """Raise ValidationError for a bad name of an entry of a node's meta."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", text) or len(text) > META_KEY_MAXIMUM:
        raise ValidationError(
            f"must have a name of 1 to {META_KEY_MAXIMUM} letters, digits, dots, dashes, "
            "slashes or underscores, the first a letter, digit or underscore."
        )


def bounded_meta(meta: Mapping[str, str]) -> None:
    """Raise ValidationError for a meta that leaves a node's attributes no place in its reports."""
    if size_of_labels(meta) > META_SIZE_MAXIMUM:
        raise ValidationError(f"must have at most {META_SIZE_MAXIMUM:,} bytes in all.")


class FilePath(fields.Field[Path]):
    """A path; relative ones count from the file that they stand in."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs["metadata"] = {"path": True, **kwargs.get("metadata", {})}
        super().__init__(**kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Path:
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValidationError("must be a path in quotes.")
        return Path(value)


class PortsSchema(Record):
    record = Ports

    http = Number(
        maximum=65535,
        load_default=Ports.http,
        metadata={"help": "port of the HTTP API; 0 takes any free one"},
    )


class AdvertiseSchema(Record):
    record = Advertise

    http = Text(
        validate=own_address,
        load_default=Advertise.http,
        metadata={
            "help": "address under which others reach the HTTP API, HOST or HOST:PORT; by default "
            "the one that it listens on, or an address of this host where that is 0.0.0.0 or ::",
            "example": "10.0.0.5:4646",
        },
    )


class ServerSchema(ServerProcessesSchema):
    record = ServerSettings

    enabled = Flag(
        load_default=ServerSettings.enabled,
        metadata={"help": "whether this process is a server: keeps the catalogue and answers"},
    )
    heartbeat_ttl = Duration(
        minimum=1,
        load_default=ServerSettings.heartbeat_ttl,
        metadata={
            "help": "a node not heard for so long is down; at most 20 % more may pass. It is "
            "longer with many nodes: see max_heartbeats_per_second"
        },
    )
    gc_threshold = Duration(
        minimum=1,
        load_default=ServerSettings.gc_threshold,
        metadata={
            "help": "how long a missing instance stays listed, unhealthy, before it is forgotten"
        },
    )
    max_parked = Number(
        minimum=1,
        maximum=4_000,
        load_default=ServerSettings.max_parked,
        metadata={"help": "how many blocking queries may wait at once; more are answered 429"},
    )
    max_streams = Number(
        minimum=1,
        maximum=1_000,
        load_default=ServerSettings.max_streams,
        metadata={
            "help": "how many event streams may be open at once, those of one token on "
            "max_parked_share percent of the places; more are answered 429"
        },
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
        Text(validate=server_address),
        load_default=ClientSettings.servers,
        metadata={
            "help": "the servers to report to; the next one is tried when one cannot be reached"
        },
    )
    datacenter = Text(
        validate=not_blank,
        load_default=ClientSettings.datacenter,
        metadata={"help": "the datacenter that this node is shown in"},
    )
    node_class = Text(
        load_default=ClientSettings.node_class,
        maximum=NODE_CLASS_MAXIMUM,
        metadata={"help": "a class of machines that this node belongs to", "example": "storage"},
    )
    meta = fields.Dict(
        Text(validate=meta_key),
        Text(maximum=META_VALUE_MAXIMUM),
        load_default=dict,
        validate=[
            validate.Length(max=META_MAXIMUM, error=f"must have at most {META_MAXIMUM} entries."),
            bounded_meta,
        ],
        metadata={
            "help": 'names and texts to know this node by, as in `meta { rack = "r7" }`',
            "block": True,
            "default": "none",
        },
    )
    advertise = Text(
        validate=own_address,
        load_default=ClientSettings.advertise,
        metadata={
            "help": "this node's address, HOST or HOST:PORT; by default the one from which it "
            "reaches the server",
            "example": "10.0.0.7",
        },
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
            "help": "file with the certificates to verify https servers with",
            "example": "/etc/plugind/ca.pem",
        },
    )
    leave_on_terminate = Flag(
        load_default=ClientSettings.leave_on_terminate,
        metadata={
            "help": "whether this node and its plugins leave the catalogue when the agent is "
            "stopped; otherwise they stay expected",
            "reload": (SERVER, CLIENT),
        },
    )


class HistorySchema(Record):
    record = HistorySettings

    keep = Duration(
        minimum=60.0,
        load_default=HistorySettings.keep,
        metadata={
            "help": "how long the history of plugins and nodes is kept, that of those that are "
            "gone as well",
        },
    )
    max_transitions = Number(
        minimum=1_000,
        load_default=HistorySettings.max_transitions,
        metadata={"help": "how many transitions it has at most; else 1,000,000, on etcd 100,000"},
    )


class EventsSchema(Record):
    record = EventsSettings

    replay = Number(
        minimum=0,
        maximum=10_000,
        load_default=EventsSettings.replay,
        metadata={"help": "from how many changes back an event stream begins that names no index"},
    )
    max_backlog = Number(
        minimum=2**14,
        load_default=EventsSettings.max_backlog,
        metadata={
            "help": "bytes of events that may wait for a client to read them; beyond that its "
            "stream is ended"
        },
    )


class PluginTypesSchema(Record):
    record = PluginTypeChoice

    enabled = Several(
        Text(validate=not_blank),
        load_default=PluginTypeChoice.enabled,
        metadata={
            "help": "the plugin types to use; by default all that are installed",
            "example": ["mine"],
            "reload": (CLIENT,),
        },
    )
    disabled = Several(
        Text(validate=not_blank),
        load_default=PluginTypeChoice.disabled,
        metadata={
            "help": "installed plugin types not to use",
            "example": ["mine"],
            "reload": (CLIENT,),
        },
    )


class AclSchema(Record):
    record = AclSettings

    enabled = Flag(
        load_default=AclSettings.enabled,
        metadata={"help": "whether requests need tokens; without it any client may do everything"},
    )
    policies = FilePath(
        load_default=AclSettings.policies,
        metadata={
            "help": "folder of policies: NAME.hcl or NAME.json is the policy NAME",
            "example": "/etc/plugind/policies",
            "reload": (SERVER, CLIENT),
        },
    )
    tokens = FilePath(
        load_default=AclSettings.tokens,
        metadata={
            "help": "file of tokens, as 'plugind acl token create' prints them; it has only hashes",
            "example": "/etc/plugind/tokens.hcl",
            "reload": (SERVER, CLIENT),
        },
    )


class CoreSchema(Record):
    """All settings but the labelled blocks ``store``, ``plugin_type`` and ``plugin``."""

    data_dir = FilePath(
        load_default=Settings.data_dir,
        metadata={
            "help": "folder for data that must outlive a restart; servers and agents need it",
            "example": "/var/lib/plugind",
        },
    )
    bind_addr = Text(
        validate=not_blank,
        load_default=Settings.bind_addr,
        metadata={"help": "address that the HTTP API listens on"},
    )
    region = Text(
        validate=not_blank,
        load_default=Settings.region,
        metadata={"help": "the region that is served"},
    )
    name = Text(
        validate=not_blank,
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
    wire = Text(
        validate=validate.OneOf(WIRES, error=f"must be one of {', '.join(WIRES)}."),
        load_default=Settings.wire,
        metadata={
            "help": "the shapes of plugins: those of Nomad's servers, or of its API's document"
        },
    )
    ports = fields.Nested(PortsSchema, load_default=Settings.ports)
    advertise = fields.Nested(AdvertiseSchema, load_default=Settings.advertise)
    server = fields.Nested(ServerSchema, load_default=Settings.server)
    client = fields.Nested(ClientSchema, load_default=Settings.client)
    acl = fields.Nested(AclSchema, load_default=Settings.acl)
    history = fields.Nested(HistorySchema, load_default=Settings.history)
    events = fields.Nested(EventsSchema, load_default=Settings.events)
    metrics = fields.Nested(MetricsSchema, load_default=Settings.metrics)
    plugin_types = fields.Nested(PluginTypesSchema, load_default=Settings.plugin_types)
