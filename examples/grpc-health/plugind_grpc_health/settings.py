"""The ``plugin_type "grpc" { }`` block: the services and their addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from marshmallow import fields, validate

from plugind.fields import Identifier, Text
from plugind.plugin_type import Schedule, ScheduleSchema, Settings, SettingsSchema


@dataclass(frozen=True)
class Service(Schedule):
    """One service. ``endpoint`` is an address in gRPC's syntax, ``service`` the name to ask about;
    "" asks about the server as a whole."""

    endpoint: str
    service: str


@dataclass(frozen=True)
class GrpcSettings(Settings):
    """The settings of the block; ``service`` is by plugin ID."""

    service: Mapping[str, Service]


class ServiceSchema(ScheduleSchema):
    """A ``service "ID" { }`` block. A ScheduleSchema lets it have its own probe_interval,
    probe_timeout and unhealthy_after."""

    record: ClassVar[type[Any] | None] = Service

    endpoint = Text(
        required=True,
        validate=validate.Regexp(
            r"(unix:/|dns:|ipv4:|ipv6:).+", error="must be such as unix:///PATH or dns:HOST:PORT."
        ),
        metadata={"help": "where it listens", "example": "unix:///run/billing.sock"},
    )
    service = Text(
        load_default="",
        metadata={"help": "the service to ask about; empty: the server as a whole"},
    )


class GrpcSettingsSchema(SettingsSchema):
    record: ClassVar[type[Any] | None] = GrpcSettings

    service = fields.Dict(
        keys=Identifier(),
        values=fields.Nested(ServiceSchema),
        load_default=dict,
        metadata={"help": "services to ask, by plugin ID"},
    )
