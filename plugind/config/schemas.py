"""The core's settings as rows: name, type, default, help. The defaults are those of ``settings``.

Metadata of a field: ``help`` is text for people; ``path`` marks paths, which if relative count from
the file that they are written in; ``example`` is given if the default is not a useful example;
``secret`` marks values that must not be shown. ``reload`` has the roles in which a reload puts a
changed value in force; in all other roles, and without this metadata, only a restart does.
"""

from __future__ import annotations

import socket

from marshmallow import fields, validate

from plugind.config.client import ClientSchema
from plugind.config.limits import Several
from plugind.config.metrics import MetricsSchema
from plugind.config.processes import ServerProcessesSchema
from plugind.config.settings import (
    CLIENT,
    SERVER,
    WIRES,
    AclSettings,
    Advertise,
    EventsSettings,
    HistorySettings,
    PluginTypeChoice,
    Ports,
    ServerSettings,
    Settings,
)
from plugind.config.values import FilePath, Level, not_blank, own_address
from plugind.logs import LEVELS
from plugind.wire.fields import Duration, Flag, Number, Record, Text


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
            "help": "a node not heard from for this long is down, at most 20 % later; the time is "
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
        maximum=50_000,
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
    """All settings except the labelled blocks ``store``, ``plugin_type`` and ``plugin``."""

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
