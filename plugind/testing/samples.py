"""Makes up results of a plugin type's prober: values for every field of its schemas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from plugind.agent.allocations import PROCESS
from plugind.agent.prober.results import SUCCESSION
from plugind.model import Fingerprint
from plugind.plugin_type import ANY_ROLE
from plugind.schemas.plugins import PluginSchemas
from plugind.wire.fields import Duration, Flag, Identifier, Number, Text, Time

Field = fields.Field[Any]

PLAIN, HUGE, EMPTY, NULL = KINDS = ("plain", "huge", "empty", "null")
"""The kinds of values; a field keeps its default in place of a value that it rejects."""

_MANY = 100  # keys or items of a huge value
_LONG = 10_000  # characters, where a field sets no bound
_ODD = '\N{FOX FACE}\N{RIGHT-TO-LEFT OVERRIDE}\0"\\<&\n'
_NESTING = 4


def details(schemas: PluginSchemas, role: str, kind: str) -> dict[str, Any]:
    """Return the type's part of a healthy fingerprint, as it is stored after a report."""
    dumped: dict[str, Any] = schemas.details[role].dump(loaded(schemas, role, kind))
    return dumped


def loaded(schemas: PluginSchemas, role: str, kind: str) -> Any:
    """Return a healthy fingerprint as its schema loads it, with the values that it accepts."""
    own = schemas.type.fingerprint_schemas[role]()
    raw = {"Healthy": True, **of_schema(own, kind)}
    for _ in raw:
        try:
            return schemas.reported[role].load(raw)
        except ValidationError as error:
            refused = error.messages if isinstance(error.messages, Mapping) else {}
            kept = {key: value for key, value in raw.items() if key not in refused}
            raw = kept if len(kept) < len(raw) else {"Healthy": True}
    return schemas.reported[role].load({"Healthy": True})


def fingerprints(
    schemas: PluginSchemas, kinds: Iterable[str] = KINDS
) -> dict[str, list[Fingerprint]]:
    """Return by role a healthy and an unhealthy fingerprint of each kind."""
    return {
        role: [
            Fingerprint(healthy, "a sample", number, details=details(schemas, role, kind))
            for number, kind in enumerate(kinds)
            for healthy in (True, False)
        ]
        for role in schemas.type.roles
    }


def undeclared(
    schemas: PluginSchemas, found: Mapping[tuple[str, str], Mapping[str, Any]]
) -> list[str]:
    """Return the fields of a probe's results that no schema declares, and that are therefore never
    shown."""
    texts = {
        f"{role}: a fingerprint has {name}, which fingerprint_schemas does not declare"
        for (_, role), fingerprint in found.items()
        for name in _unknown(
            [schemas.reported[role]] if role != ANY_ROLE else list(schemas.reported.values()),
            {name: value for name, value in fingerprint.items() if name not in _CORES_OWN},
        )
    }
    return sorted(texts)


_CORES_OWN = {PROCESS, SUCCESSION}


def _unknown(schemas: Sequence[Schema], values: Mapping[str, Any], path: str = "") -> set[str]:
    """Return the names in ``values``, at any depth, that none of the schemas loads."""
    unknown: set[str] = set()
    for name, value in values.items():
        known = [
            field
            for schema in schemas
            for attribute, field in schema.load_fields.items()
            if (field.data_key or attribute) == name
        ]
        if not known:
            unknown.add(f"{path}{name}")
        inner = [field.schema for field in known if isinstance(field, fields.Nested)]
        if inner and isinstance(value, Mapping):
            unknown |= _unknown(inner, value, f"{path}{name}.")
    return unknown


def of_schema(schema: Schema, kind: str, depth: int = _NESTING) -> dict[str, Any]:
    """Return a value, in wire form, for each field that can be loaded."""
    if depth == 0:
        return {}
    return {
        field.data_key or name: _of_field(field, kind, depth)
        for name, field in schema.load_fields.items()
    }


def _of_field(field: Field, kind: str, depth: int) -> Any:
    if kind == NULL and field.allow_none:
        return None
    for check in field.validators:
        if isinstance(check, validate.OneOf) and check.choices:
            return next(iter(check.choices))
    match field:
        case fields.Nested():
            return of_schema(field.schema, kind, depth - 1)
        case fields.List():
            count = {HUGE: _MANY, PLAIN: 1}.get(kind, 0)
            return [_of_field(field.inner, kind, depth - 1) for _ in range(count)]
        case fields.Mapping():
            return _of_mapping(field, kind, depth)
    return _of_scalar(field, kind)


def _of_mapping(field: fields.Mapping[Any], kind: str, depth: int) -> dict[str, Any]:
    if field.value_field is None:
        return {"key": "value"} if kind == PLAIN else {}
    count = {HUGE: _MANY, PLAIN: 1}.get(kind, 0)
    return {
        f"key{number}": _of_field(field.value_field, kind, depth - 1) for number in range(count)
    }


def _of_scalar(field: Field, kind: str) -> Any:
    huge, plain = kind == HUGE, kind == PLAIN
    match field:
        case Flag() | fields.Boolean():
            return huge or plain
        case Number():
            return field.maximum if huge else field.minimum
        case fields.Float():
            return 1e308 if huge else 0.5
        case fields.Number():
            return 2**63 - 1 if huge else 0
        case Duration():
            return "1s"
        case Time():
            return "2026-01-31T23:00:00.5Z"
        case Identifier():
            return "x" * 128 if huge else "x"
        case Text():
            return _text(kind, field.maximum)
    return _text(kind, _LONG)


def _text(kind: str, maximum: int) -> str:
    return {PLAIN: "text"[:maximum], HUGE: (_ODD * maximum)[:maximum]}.get(kind, "")
