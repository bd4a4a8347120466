"""The shapes of bodies that have no schema elsewhere: for dumping, and for OpenAPI.

A shape is a marshmallow schema, or a part of an OpenAPI document with such schemas in it, or a
function that makes either from the schemas of all plugin types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from marshmallow import Schema, fields

from plugind.plugin_type import WireSchema
from plugind.schemas.allocations import ID_MAXIMUM, ReportedAllocationSchema
from plugind.schemas.nodes import NodeSchema, ReportSchema
from plugind.schemas.plugins import PluginSchemas
from plugind.wire.fields import Identifier, Text

Schemas = Mapping[str, PluginSchemas]
Words = Mapping[str, Any]
Shape = Schema | Words | Callable[[Schemas], Schema | Words]

TEXT: Words = {"type": "string"}
FLAG: Words = {"type": "boolean"}
NUMBER: Words = {"type": "integer", "minimum": 0}
TEXTS: Words = {"type": "array", "items": TEXT}


class RejectedSchema(Schema):
    """One rejected item of a report."""

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
    """The answer to a write: the index that it made, or the last one if nothing changed."""

    Index = fields.Integer()


class TypeSchemasSchema(Schema):
    """JSON Schemas of what a plugin type adds; {} for one that cannot be described."""

    Row = fields.Dict()
    Body = fields.Dict()
    Settings = fields.Dict()


class PluginTypeSchema(Schema):
    """One plugin type, and the distribution that provides it."""

    Name = fields.String()
    Title = fields.String()
    Roles = fields.Dict(fields.String(), fields.String())
    NodeKeys = fields.Dict(fields.String(), fields.String())
    Distribution = fields.String()
    Version = fields.String()
    Schemas = fields.Nested(TypeSchemasSchema)


class RoleHealthSchema(Schema):
    """The health of one role of the process."""

    ok = fields.Boolean()
    message = fields.String()


class EventSchema(Schema):
    """One event. ``Payload`` is a plugin, a node or a transition, depending on the topic."""

    Topic = fields.String()
    Type = fields.String()
    Key = fields.String()
    Namespace = fields.String()
    FilterKeys = fields.List(fields.String())
    Index = fields.Integer()
    Payload = fields.Dict()


class EventsSchema(Schema):
    """A line of an event stream. A heartbeat has no fields; the last line may have ``Error``."""

    Index = fields.Integer(metadata={"optional": True})
    Events = fields.List(fields.Nested(EventSchema), metadata={"optional": True})
    Error = fields.String(metadata={"optional": True})


FORGOTTEN = IndexSchema()
EVENTS = EventsSchema()
TYPES = PluginTypeSchema(many=True)
HEALTH: Words = {"type": "object", "additionalProperties": RoleHealthSchema()}
OPENAPI: Words = {"type": "object"}


def plugin_type(schemas: Schemas) -> Words:
    """Return the shape of a plugin type's name."""
    return {**TEXT, "enum": sorted(schemas)} if schemas else TEXT


def plugin_rows(schemas: Schemas) -> Schema | Words:
    """Return the shape of a list of rows, all of one type."""
    lists = [{"type": "array", "items": each.row} for each in schemas.values()]
    return _any_of(lists, {"type": "array"})


def plugin_body(schemas: Schemas) -> Schema | Words:
    """Return the shape of one plugin, of any type."""
    return _any_of([each.whole for each in schemas.values()], {"type": "object"})


def node_body(schemas: Schemas) -> Schema:
    """Return the shape of one node, with the instances of every type."""
    maps = (type(each.node_maps) for each in schemas.values())
    joined: type[Schema] = type("node", (NodeSchema, *maps), {})
    return joined()


def report_body(schemas: Schemas) -> Schema:
    """Return the shape of a node's report; its answer lists what a type's own schema rejects."""
    by_type: dict[str, fields.Field[Any]] = {
        name: fields.Dict(Identifier(), fields.Nested(type(each.plugin_report)))
        for name, each in schemas.items()
    }
    plugins = WireSchema.from_dict(by_type, name="report-plugins")
    nested = fields.Nested(plugins, required=True, data_key="Plugins")
    described = fields.Nested(ReportedAllocationSchema)
    allocations = fields.Dict(Text(maximum=ID_MAXIMUM), described, data_key="Allocations")
    own = {"plugins": nested, "allocations": allocations}
    made: type[Schema] = type("report", (ReportSchema,), own)
    return made()


def _any_of(shapes: Sequence[Schema | Words], otherwise: Words) -> Schema | Words:
    """Return the shape of any of several, or ``otherwise`` for none: ``anyOf`` needs one."""
    if len(shapes) == 1:
        return shapes[0]
    return {"anyOf": shapes} if shapes else otherwise
