"""What answers look like that no other room has a schema of: for dumping, and for OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, fields

from plugind.node_schemas import NodeSchema
from plugind.plugin_schemas import PluginSchemas

Schemas = Mapping[str, PluginSchemas]

TEXT: Mapping[str, Any] = {"type": "string"}
TEXTS: Mapping[str, Any] = {"type": "array", "items": TEXT}


class RejectedSchema(Schema):
    """One item of a report that was not taken."""

    Type = fields.String(attribute="type")
    ID = fields.String(attribute="id")
    Role = fields.String(attribute="role")
    Field = fields.String(attribute="field")
    Reason = fields.String(attribute="reason")


class AcceptedSchema(Schema):
    """The answer to a report or heartbeat; HeartbeatTTL is in nanoseconds."""

    Index = fields.Integer(attribute="index")
    HeartbeatTTL = fields.Integer(attribute="ttl")
    Digest = fields.String(attribute="digest")
    Rejected = fields.List(fields.Nested(RejectedSchema), attribute="rejected")


class IndexSchema(Schema):
    """The answer to a write: the index that it made, or found where nothing changed."""

    Index = fields.Integer()


class PluginTypeSchema(Schema):
    """One plugin type."""

    Name = fields.String()
    Title = fields.String()
    Roles = fields.Dict(fields.String(), fields.String())
    NodeKeys = fields.Dict(fields.String(), fields.String())
    Distribution = fields.String()


FORGOTTEN = IndexSchema()
TYPES = PluginTypeSchema(many=True)
ALLOCATIONS: Mapping[str, Any] = {"type": "array", "items": {"type": "object"}}
HEALTH: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "message": TEXT},
        "required": ["ok", "message"],
    },
}


def plugin_rows(schemas: Schemas) -> list[Schema]:
    """A list of rows, of whichever type."""
    return [each.row for each in schemas.values()]


def plugin_body(schemas: Schemas) -> list[Schema]:
    """One plugin, of whichever type."""
    return [each.body for each in schemas.values()]


def node_body(schemas: Schemas) -> list[Schema]:
    """One node."""
    return [NodeSchema()]
