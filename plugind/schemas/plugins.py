"""The wire shapes of plugins: the core's own fields and a plugin type's, composed into one schema.

Field names are Nomad's; the shapes are those of its Plugins API.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, fields

from plugind.model import Fingerprint, Stamp
from plugind.plugin_type import ANY_ROLE, PluginType, WireSchema
from plugind.schemas.allocations import ID_MAXIMUM, AllocationStubSchema
from plugind.schemas.dumping import Dumper
from plugind.schemas.quick import Quick
from plugind.wire.fields import Flag, Number, Text, Time

DESCRIPTION_MAXIMUM = 4096


class _CoreSchema(WireSchema):
    PluginID = fields.String(dump_only=True)
    AllocID = Text(load_default="", maximum=ID_MAXIMUM)
    Healthy = Flag(required=True)
    HealthDescription = Text(load_default="", maximum=DESCRIPTION_MAXIMUM)


class FingerprintSchema(_CoreSchema):
    """The fields that fingerprints of all types have when they are reported; only Healthy is
    required."""

    UpdateTime = Time(load_default=None)
    Configured = Flag(
        load_default=False,
        load_only=True,
        metadata={"description": "whether the agent's configuration names the instance"},
    )


class ShownSchema(_CoreSchema):
    """The fields that fingerprints of all types have in responses; by then the time is known."""

    UpdateTime = Time()


class StampedSchema(WireSchema):
    """The fields of everything in the catalogue."""

    CreateIndex = Number(dump_only=True)
    ModifyIndex = Number(dump_only=True)


class PluginRowSchema(StampedSchema):
    """One plugin in a list."""

    ID = fields.String(dump_only=True)


class PluginBodySchema(PluginRowSchema):
    """One plugin, read by itself; times in nanoseconds since the epoch."""

    CreateTime = Number(dump_only=True)
    ModifyTime = Number(dump_only=True)
    Allocations = fields.List(fields.Nested(AllocationStubSchema), dump_only=True)


@dataclass(frozen=True)
class PluginSchemas:
    """The schemas of one plugin type.

    ``reported`` loads a whole reported fingerprint of a role and ``details`` dumps the type's part
    of it. ``body`` dumps a body except for the maps of instances, which are joined from the
    instances' own bytes. Three are for the API's description: ``whole`` is a body with these maps,
    ``node_maps`` are the maps in a node's body, and ``plugin_report`` is the part of a report about
    one plugin. ``quick`` loads the fingerprints of roles whose schemas have no code of their own.
    """

    type: PluginType
    reported: Mapping[str, Schema]
    details: Mapping[str, Schema]
    row: Schema
    body: Schema
    whole: Schema
    node_maps: Schema
    plugin_report: Schema
    quick: Mapping[str, Quick]

    def read(self, role: str, raw: Any) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """Return a reported fingerprint as it is loaded, and its details as they are stored.

        Raise ValidationError, and any exception that the code of the type raises.
        """
        if (quick := self.quick.get(role)) and (loaded := quick.load(raw)) is not None:
            return loaded, {name: loaded[name] for name in self.details[role].dump_fields}
        loaded = self.reported[role].load(raw)
        return loaded, self.details[role].dump(loaded)

    def nothing_known(self, role: str) -> dict[str, Any]:
        """Return the details of an instance that is unhealthy and otherwise unknown."""
        details: dict[str, Any] = self.details[role].dump(
            self.reported[role].load({"Healthy": False})
        )
        return details

    @classmethod
    def of(cls, type_: PluginType) -> PluginSchemas:
        """Compose the schemas of a plugin type from its own and the core's."""
        counts: dict[str, fields.Field[Any]] = {
            f"{plural}{count}": Number(dump_only=True)
            for plural in type_.roles.values()
            for count in ("Healthy", "Expected")
        }
        whole = {
            role: _join(f"{type_.name}-{role}-fingerprint", FingerprintSchema, schema)
            for role, schema in type_.fingerprint_schemas.items()
        }
        shown = {
            role: _join(f"{type_.name}-{role}-fingerprint", ShownSchema, schema)
            for role, schema in type_.fingerprint_schemas.items()
        }
        counted = Schema.from_dict(counts, name=f"{type_.name}-counts")
        body = _join(f"{type_.name}-body", PluginBodySchema, counted, type_.body_schema)
        maps = _maps(type_.roles, shown)
        return cls(
            type_,
            {role: schema() for role, schema in whole.items()},
            {role: schema() for role, schema in type_.fingerprint_schemas.items()},
            _join(f"{type_.name}-row", PluginRowSchema, counted, type_.row_schema)(),
            body(),
            _join(f"{type_.name}-plugin", body, maps)(),
            _maps(node_keys(type_), shown)(),
            _plugin_report(type_, whole),
            _quick(type_.fingerprint_schemas, whole),
        )


def _quick(own: Mapping[str, type[Schema]], whole: Mapping[str, type[Schema]]) -> dict[str, Quick]:
    """Return the quick loaders of fingerprints whose details are stored as reported, by role."""
    found = {}
    for role, schema in own.items():
        details, quick = Quick.of(schema()), Quick.of(whole[role]())
        if quick and details and details.is_plain:
            found[role] = quick
    return found


def _maps(keys: Mapping[str, str], schemas: Mapping[str, type[Schema]]) -> type[Schema]:
    """Return a schema of maps of fingerprints, each under the key of its role."""
    maps: dict[str, fields.Field[Any]] = {
        key: fields.Dict(fields.String(), fields.Nested(schemas[role]))
        for role, key in keys.items()
    }
    return WireSchema.from_dict(maps)


def _plugin_report(type_: PluginType, schemas: Mapping[str, type[Schema]]) -> Schema:
    roles: dict[str, fields.Field[Any]] = {
        role: fields.Nested(schema, allow_none=True) for role, schema in schemas.items()
    }
    help = "with the fields of any role: for all that are known of it here, else the default one"
    roles[ANY_ROLE] = fields.Nested(
        FingerprintSchema, allow_none=True, metadata={"description": help}
    )
    return WireSchema.from_dict(roles, name=f"{type_.name}-plugin")()


def _join(name: str, *schemas: type[Schema]) -> type[Schema]:
    """Return one schema with the fields of all; if two have a field of the same name, the first
    one's counts."""
    return type(name, schemas, {})


def node_keys(type_: PluginType) -> dict[str, str]:
    """Return, for each role, the key under which a node's body has its instances of a type."""
    made = {role: f"{type_.name.capitalize()}{role.capitalize()}Plugins" for role in type_.roles}
    return {**made, **type_.node_keys}


def stamp_fields(stamp: Stamp) -> dict[str, int]:
    """Return a stamp by its names on the wire."""
    return {
        "CreateIndex": stamp.create_index,
        "ModifyIndex": stamp.modify_index,
        "CreateTime": stamp.create_time,
        "ModifyTime": stamp.modify_time,
    }


_CORE = Dumper(ShownSchema())


def fingerprint_document(plugin_id: str, fingerprint: Fingerprint) -> dict[str, Any]:
    """Return a fingerprint as it is shown to readers: its type's details and the core's fields."""
    core = {
        "PluginID": plugin_id,
        "AllocID": fingerprint.alloc_id,
        "Healthy": fingerprint.healthy,
        "HealthDescription": fingerprint.description,
        "UpdateTime": fingerprint.updated,
    }
    return {**fingerprint.details, **_CORE(core)}
