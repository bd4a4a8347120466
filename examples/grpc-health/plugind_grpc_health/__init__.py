"""The grpc plugin type: services that speak gRPC's health checking protocol.

The configuration names each service in a block of its own, because a machine has no list of its
services. Every ``plugind`` command imports this module, so gRPC, which is slow to import, is
imported only where the prober is made: in the agent's child process.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pkgutil import resolve_name
from typing import Any, ClassVar

from marshmallow import fields, validate

from plugind.fields import Text
from plugind.model import Fingerprint
from plugind.plugin_type import PluginType, Prober, WireSchema, hookimpl
from plugind_grpc_health.settings import GrpcSettings, GrpcSettingsSchema

STATUSES = ("", "UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


class GrpcFingerprintSchema(WireSchema):
    """The fields of a service on one node, in addition to its health."""

    Endpoint = Text(load_default="")
    Status = Text(load_default="", validate=validate.OneOf(STATUSES))


class GrpcSummarySchema(WireSchema):
    """The fields of a service on all nodes: the statuses in its latest answers."""

    Statuses = fields.List(Text(), load_default=list)


class GrpcType(PluginType):
    """Services that answer grpc.health.v1.Health."""

    plugind_api = 1
    name = "grpc"
    title = "gRPC services"
    roles: ClassVar[Mapping[str, str]] = {"node": "Nodes"}
    default_role = "node"
    settings_schema = GrpcSettingsSchema
    fingerprint_schemas: ClassVar[Mapping[str, type[WireSchema]]] = {"node": GrpcFingerprintSchema}
    row_schema = GrpcSummarySchema
    body_schema = GrpcSummarySchema

    def summary(self, fingerprints: Mapping[str, Collection[Fingerprint]]) -> Mapping[str, Any]:
        statuses = {one.details.get("Status", "") for one in fingerprints["node"]}
        return {"Statuses": sorted(statuses - {""})}

    def prober(self, settings: GrpcSettings) -> Prober:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # a probe reports the errors itself
        prober: Prober = resolve_name("plugind_grpc_health.prober:GrpcProber")(settings)
        return prober


@hookimpl
def plugind_plugin_types() -> Sequence[PluginType]:
    return [GrpcType()]
