"""The rules of what a plugin type says: its documentation, settings, schemas, names, summaries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import orjson
from marshmallow import Schema, fields

from plugind.api.type_rows import json_schema
from plugind.config.shape import known_fields
from plugind.flaws import told
from plugind.model import Fingerprint
from plugind.node_schemas import NodeSchema
from plugind.plugin_schemas import FingerprintSchema, PluginBodySchema, PluginSchemas, node_keys
from plugind.plugin_type import PluginType, Settings
from plugind.testing import samples
from plugind.testing.rules import Rules, Subject

rules = Rules()

_MANY = 1_000  # fingerprints of one plugin


@rules
def usable(subject: Subject) -> Iterator[str]:
    """A package brings it, and plugind takes it: its name, roles, schemas and version are sound."""
    if subject.refusal:
        yield subject.refusal


@rules
def documented(subject: Subject) -> Iterator[str]:
    """It has a title and a docstring, and every setting has its help."""
    if not subject.type.title:
        yield "title is empty"
    if not (type(subject.type).__doc__ or "").strip():
        yield f"the class {type(subject.type).__name__} has no docstring"
    for path in _without_help(subject.type.settings_schema()):
        yield f'the setting {path} has no help: metadata={{"help": ...}}'


@rules
def settings_load(subject: Subject) -> Iterator[str]:
    """Its settings load where configuration says nothing of them, and those for --dev do too."""
    yield from subject.load(None)
    yield from (f"dev_settings: {text}" for text in subject.load(subject.folder))
    loaded = subject.type.settings_schema().load({})
    if not isinstance(loaded, Settings):
        yield f"settings_schema loads {type(loaded).__name__}, which is no subclass of Settings"


@rules
def described(subject: Subject) -> Iterator[str]:
    """Its schemas can be described as JSON Schemas, for /v1/plugin-types and /v1/openapi.json."""
    schemas, settings = subject.schemas, subject.type.settings_schema()
    for what, schema in {
        "row": schemas.row,
        "body": schemas.whole,
        "report": schemas.plugin_report,
        "settings": settings,
    }.items():
        try:
            orjson.dumps(json_schema(schema, answered=schema in (schemas.row, schemas.whole)))
        except Exception as error:
            yield f"that of its {what} cannot: {told(error)}"


@rules
def names(subject: Subject) -> Iterator[str]:
    """What it names clashes with nothing of the core's, of its own, or of other types."""
    yield from _clashing_plurals(subject.type)
    yield from _clashing_fields(subject.type)
    keys = node_keys(subject.type)
    for role in sorted(keys.keys() - subject.type.roles.keys()):
        yield f"node_keys has {role!r}, which is none of its roles"
    yield from _doubled("node_keys", keys.values())
    for key in sorted(set(keys.values()) & _keys(NodeSchema())):
        yield f"node_keys: {key} is the core's"
    for other in subject.others:
        for key in sorted(set(keys.values()) & set(node_keys(other).values())):
            yield f"node_keys: {key} is that of the plugin type {other.name}"


@rules
def schemas_round_trip(subject: Subject) -> Iterator[str]:
    """What its schemas load and dump they load again, and it is the same; JSON can hold it."""
    schemas = subject.schemas
    for role in subject.type.roles:
        for kind in samples.KINDS:
            first = samples.details(schemas, role, kind)
            orjson.dumps(first)
            if lacking := sorted(_keys(schemas.details[role]) - first.keys()):
                yield f"{role}: {', '.join(lacking)} is left out; it needs a load_default"
            again = schemas.details[role].dump(
                schemas.reported[role].load({"Healthy": True, **first})
            )
            for key in sorted(first.keys() | again.keys()):
                if first.get(key) != again.get(key):
                    yield f"{role}: {key} is {_short(first.get(key))} once, then " + _short(
                        again.get(key)
                    )


@rules
def rows_serialize(subject: Subject) -> Iterator[str]:
    """Rows and bodies have every field of their schemas, as JSON, in both shapes of the wire."""
    yield from _rendered(subject, samples.fingerprints(subject.schemas, [samples.PLAIN]))


@rules
def summary_of_nothing(subject: Subject) -> Iterator[str]:
    """summary takes a plugin that is only declared: no role has a fingerprint."""
    yield from _rendered(subject, {role: [] for role in subject.type.roles})


@rules
def summary_without_details(subject: Subject) -> Iterator[str]:
    """summary takes unhealthy fingerprints without details, as of what nobody could ask yet."""
    bare = Fingerprint(False, "nothing is known of it", 0)
    yield from _rendered(subject, {role: [bare] for role in subject.type.roles})


@rules
def summary_of_odd_values(subject: Subject) -> Iterator[str]:
    """summary takes whatever its schemas let through: huge, empty and null, and many of each."""
    for kind in samples.KINDS:
        yield from _rendered(subject, samples.fingerprints(subject.schemas, [kind]))
    mixed = samples.fingerprints(subject.schemas)
    many = {role: ones * (_MANY // len(ones)) for role, ones in mixed.items()}
    yield from _rendered(subject, many)


def _without_help(schema: Schema, path: str = "") -> Iterator[str]:
    """The settings of a block, and of those in it, that have no help."""
    for name, field in known_fields(schema).items():
        if not str(field.metadata.get("help", "")).strip():
            yield f"{path}{name}"
        inner: Any = field.value_field if isinstance(field, fields.Mapping) else field
        if isinstance(inner, fields.Nested):
            yield from _without_help(inner.schema, f"{path}{name}.")


def _clashing_plurals(type_: PluginType) -> Iterator[str]:
    yield from _doubled("roles: the plural", [plural.lower() for plural in type_.roles.values()])
    for plural in type_.roles.values():
        for key in sorted({plural, f"{plural}Healthy", f"{plural}Expected"} & _CORE_BODY):
            yield f"roles: {key} is the core's"


def _clashing_fields(type_: PluginType) -> Iterator[str]:
    plurals = type_.roles.values()
    made = {f"{plural}{more}" for plural in plurals for more in ("", "Healthy", "Expected")}
    for what, schema in {"row_schema": type_.row_schema, "body_schema": type_.body_schema}.items():
        for key in sorted(_keys(schema()) & (_CORE_BODY | made)):
            yield f"{what}: {key} is the core's"
    for role, schema in type_.fingerprint_schemas.items():
        for key in sorted(_keys(schema()) & _keys(FingerprintSchema())):
            yield f"fingerprint_schemas: {key} of {role} is the core's"


def _doubled(what: str, values: Collection[str]) -> Iterator[str]:
    for value, count in Counter(values).items():
        if count > 1:
            yield f"{what} {value!r} is there {count} times"


def _keys(schema: Schema) -> set[str]:
    return {field.data_key or name for name, field in schema.fields.items()}


_CORE_BODY = _keys(PluginBodySchema())


def _rendered(
    subject: Subject, fingerprints: Mapping[str, Collection[Fingerprint]]
) -> Iterator[str]:
    """What keeps a plugin with those fingerprints from being shown."""
    schemas, type_ = subject.schemas, subject.type
    summary = type_.summary(fingerprints)
    if not isinstance(summary, Mapping):
        yield f"summary returns {type(summary).__name__} instead of a mapping"
        return
    core: dict[str, Any] = dict.fromkeys(_CORE_BODY, 0) | {"ID": "x", "Allocations": []}
    counts = {f"{plural}{count}": 0 for plural in type_.roles.values() for count in _COUNTS}
    document = {**summary, **counts, **core}
    row, body = schemas.row.dump(document), schemas.body.dump(document)
    yield from _lacking("row", schemas, row)
    yield from _lacking("body", schemas, body)
    orjson.dumps(row)
    maps: dict[str, Any] = {plural: {} for plural in type_.roles.values()}
    orjson.dumps(type_.document_row(orjson.loads(orjson.dumps(row))))
    orjson.dumps(type_.document_body(orjson.loads(orjson.dumps({**body, **maps}))))


_COUNTS = ("Healthy", "Expected")


def _lacking(what: str, schemas: PluginSchemas, made: Mapping[str, Any]) -> Iterator[str]:
    schema = schemas.row if what == "row" else schemas.body
    if lacking := sorted(_keys(schema) - made.keys()):
        yield f"the {what} lacks {', '.join(lacking)}, which summary leaves out"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
