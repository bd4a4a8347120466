"""The rules for the declarations of a plugin type: documentation, settings, schemas, names,
summaries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import orjson
from marshmallow import Schema, ValidationError, fields, missing

from plugind.api.type_rows import json_schema
from plugind.config.shape import known_fields
from plugind.model import Fingerprint
from plugind.plugin_type import PluginType, Settings
from plugind.schemas.nodes import NodeSchema, reasons_of
from plugind.schemas.plugins import FingerprintSchema, PluginBodySchema, PluginSchemas, node_keys
from plugind.testing import samples
from plugind.testing.rules import Rules, Subject
from plugind.types.validation import one_line

rules = Rules()

_MANY = 1_000  # fingerprints of one plugin


@rules
def usable(subject: Subject) -> Iterator[str]:
    """Require that a package provides it with a valid name, roles, schemas and version."""
    if subject.refusal:
        yield subject.refusal


@rules
def documented(subject: Subject) -> Iterator[str]:
    """Require a title, a docstring, and help for every setting."""
    if not subject.type.title:
        yield "title is empty"
    if not (type(subject.type).__doc__ or "").strip():
        yield f"the class {type(subject.type).__name__} has no docstring"
    for path in _without_help(subject.type.settings_schema()):
        yield f'the setting {path} has no help: metadata={{"help": ...}}'


@rules
def settings_load(subject: Subject) -> Iterator[str]:
    """Require that its settings load when the configuration sets none of them, and also those for
    --dev."""
    yield from subject.load(None)
    yield from (f"dev_settings: {text}" for text in subject.load(subject.folder))
    loaded = subject.type.settings_schema().load({})
    if not isinstance(loaded, Settings):
        yield f"settings_schema loads {type(loaded).__name__}, which is not a subclass of Settings"


@rules
def described(subject: Subject) -> Iterator[str]:
    """Require that its schemas can be described as JSON Schemas, for /v1/plugin-types and
    /v1/openapi.json."""
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
            yield f"that of its {what} cannot: {one_line(error)}"


@rules
def names(subject: Subject) -> Iterator[str]:
    """Require that its names clash neither with each other nor with those of the core or of other
    types."""
    yield from _clashing_plurals(subject.type)
    yield from _clashing_fields(subject.type)
    keys = node_keys(subject.type)
    for role in sorted(keys.keys() - subject.type.roles.keys()):
        yield f"node_keys has {role!r}, which is not one of its roles"
    yield from _doubled("node_keys", keys.values())
    for key in sorted(set(keys.values()) & _keys(NodeSchema())):
        yield f"node_keys: {key} is the core's"
    for other in subject.others:
        for key in sorted(set(keys.values()) & set(node_keys(other).values())):
            yield f"node_keys: {key} is that of the plugin type {other.name}"


@rules
def load_defaults(subject: Subject) -> Iterator[str]:
    """Require a load_default for every field of its fingerprint schemas: it is shown while the
    value is not known yet."""
    for role, schema in subject.type.fingerprint_schemas.items():
        for path in _without_default(schema()):
            yield f"{role}: {path} has no load_default"


@rules
def schemas_round_trip(subject: Subject) -> Iterator[str]:
    """Require that its schemas load the values that they dump without changing them, and that JSON
    can represent these values."""
    schemas = subject.schemas
    for role in subject.type.roles:
        bare = set(_without_default(schemas.details[role]))  # reported already
        for kind in samples.KINDS:
            first = samples.details(schemas, role, kind)
            orjson.dumps(first)
            if lacking := sorted(_keys(schemas.details[role]) - first.keys() - bare):
                yield f"{role}: {', '.join(lacking)} is loaded and not dumped"
            again = schemas.details[role].dump(
                schemas.reported[role].load({"Healthy": True, **first})
            )
            for key in sorted(first.keys() | again.keys()):
                if first.get(key) != again.get(key):
                    yield f"{role}: {key} is {_short(first.get(key))} once, then " + _short(
                        again.get(key)
                    )
                    return


@rules
def rows_serialize(subject: Subject) -> Iterator[str]:
    """Require that rows and bodies have every field of their schemas, as JSON, in both wire
    formats."""
    yield from _rendered(subject, samples.fingerprints(subject.schemas, [samples.PLAIN]))


@rules
def summary_of_nothing(subject: Subject) -> Iterator[str]:
    """Require that summary accepts a plugin that is only declared: no role has a fingerprint."""
    yield from _rendered(subject, {role: [] for role in subject.type.roles})


@rules
def summary_without_details(subject: Subject) -> Iterator[str]:
    """Require that summary accepts unhealthy fingerprints without details, such as those of a
    plugin that never answered."""
    bare = Fingerprint(False, "nothing is known of it", 0)
    yield from _rendered(subject, {role: [bare] for role in subject.type.roles})


@rules
def summary_of_odd_values(subject: Subject) -> Iterator[str]:
    """Require that summary accepts all values that its schemas accept: huge, empty and null, and
    many of each."""
    for kind in samples.KINDS:
        yield from _rendered(subject, samples.fingerprints(subject.schemas, [kind]))
    mixed = samples.fingerprints(subject.schemas)
    many = {role: ones * (_MANY // len(ones)) for role, ones in mixed.items()}
    yield from _rendered(subject, many)


def _without_default(schema: Schema, path: str = "") -> Iterator[str]:
    """Yield the fields of a schema, and of those nested in it, that have no load_default."""
    for name, field in schema.load_fields.items():
        key = f"{path}{field.data_key or name}"
        if field.load_default is missing:
            yield key
        if isinstance(field, fields.Nested):
            yield from _without_default(field.schema, f"{key}.")


def _without_help(schema: Schema, path: str = "") -> Iterator[str]:
    """Yield the settings of a block, and of those in it, that have no help."""
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
            yield f"{what} {value!r} is used {count} times"


def _keys(schema: Schema) -> set[str]:
    return {field.data_key or name for name, field in schema.fields.items()}


_CORE_BODY = _keys(PluginBodySchema())


def _rendered(
    subject: Subject, fingerprints: Mapping[str, Collection[Fingerprint]]
) -> Iterator[str]:
    """Yield the problems that keep a plugin with those fingerprints from being shown."""
    schemas, type_ = subject.schemas, subject.type
    summary = type_.summary(fingerprints)
    if not isinstance(summary, Mapping):
        yield f"summary returns {type(summary).__name__} instead of a mapping"
        return
    core: dict[str, Any] = dict.fromkeys(_CORE_BODY, 0) | {"ID": "x", "Allocations": []}
    counts = {f"{plural}{count}": 0 for plural in type_.roles.values() for count in _COUNTS}
    document = {**summary, **counts, **core}
    row, body = schemas.row.dump(document), schemas.body.dump(document)
    yield from _lacking(schemas, row, body)
    orjson.dumps(row)
    maps: dict[str, Any] = {plural: {} for plural in type_.roles.values()}
    document_row = type_.document_row(orjson.loads(orjson.dumps(row)))
    orjson.dumps(document_row)
    if not isinstance(document_row, Mapping):
        yield f"document_row returns {type(document_row).__name__} instead of a mapping"
    orjson.dumps(type_.document_body(orjson.loads(orjson.dumps({**body, **maps}))))
    yield from _unfit(type_, row, body)


_COUNTS = ("Healthy", "Expected")


def _lacking(
    schemas: PluginSchemas, row: Mapping[str, Any], body: Mapping[str, Any]
) -> Iterator[str]:
    """Yield the fields that summary leaves out of the row and of the body; a field that both lack
    is reported for the row only."""
    in_row = _keys(schemas.row) - row.keys()
    in_body = _keys(schemas.body) - body.keys() - in_row
    for what, lacking in {"row": in_row, "body": in_body}.items():
        if lacking:
            yield f"the {what} lacks {', '.join(sorted(lacking))}, which summary leaves out"


def _unfit(type_: PluginType, row: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values of summary that the type's own schemas would not load.

    Dumping does not validate them, but clients rely on the schemas.
    """
    seen: set[tuple[str, str]] = set()
    for what, schema, made in (("row", type_.row_schema, row), ("body", type_.body_schema, body)):
        own = {key: value for key, value in made.items() if key in _keys(schema())}
        try:
            schema().load(own)
        except ValidationError as error:
            for path, reason in reasons_of(error):
                if (path, reason) not in seen:
                    seen.add((path, reason))
                    yield f"the result of summary does not fit {what}_schema: {path} {reason}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
