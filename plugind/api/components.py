"""Translates marshmallow schemas to OpenAPI: the ``components.schemas`` of the document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema, fields, validate

from plugind.api.openapi import VERSION
from plugind.api.shapes import Schemas, Shape
from plugind.model.times import INT64_MAX
from plugind.wire.fields import ID_PATTERN, Duration, Flag, Identifier, Number, Text, Time

_DURATION = r"^[+-]?(0|([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+)$"
_TIME = "RFC 3339, from 1970 to 2262; nanoseconds count"
_OPTIONAL = "x-optional"
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


class Components:
    """The components that shapes refer to; each is made when it is first referred to.

    ``answered``: they describe answers, which have every field; otherwise they describe request
    bodies. A field whose metadata has ``optional`` may be missing from an answer.
    """

    def __init__(self, schemas: Schemas, *, answered: bool) -> None:
        self._schemas = schemas
        self._answered = answered
        self._owner = ""
        plugin = MarshmallowPlugin(schema_name_resolver=self._name)
        self._spec = APISpec("", "", VERSION, plugins=[plugin])
        converter: Any = plugin.converter
        self._converter = converter
        for field, type_, format_ in (
            (Duration, "string", None),
            (Flag, "boolean", None),
            (Number, "integer", None),
            (Time, "string", "date-time"),
        ):
            plugin.map_to_openapi_type(field, type_, format_)  # type: ignore[no-untyped-call]
        for add in (_help, _bounds, _constant, _optional):
            converter.add_attribute_function(add)
        for type_name, each in sorted(schemas.items()):
            self._owner = _camel(type_name)
            for schema in [each.row, each.whole] if answered else [each.plugin_report]:
                self.of(schema)
        self._owner = ""

    def of(self, shape: Shape) -> Any:
        """Return a shape as OpenAPI describes it."""
        if callable(shape):
            shape = shape(self._schemas)
        if isinstance(shape, Schema):
            return self._converter.resolve_nested_schema(shape)
        return _deep(shape, self.of)

    def schemas(self) -> dict[str, Any]:
        """Return all components referred to so far, by name."""
        made: dict[str, Any] = self._spec.to_dict()["components"].get("schemas", {})
        finish = _as_answered if self._answered else _as_taken
        return {name: finish(schema) for name, schema in sorted(made.items())}

    def _name(self, schema: Any) -> str:
        """Return a schema's name. It begins with its plugin type's, so no two types share one."""
        class_ = schema if isinstance(schema, type) else type(schema)
        name = _camel(class_.__name__.removesuffix("Schema"))
        if not name.startswith(self._owner):
            name = self._owner + name
        return name if self._answered or not self._owner else f"Reported{name}"


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.replace("_", "-").split("-"))


def _deep(words: Any, of: Any) -> Any:
    """Return ``words`` with each schema in them replaced by the result of ``of``."""
    match words:
        case Mapping():
            return {key: _deep(value, of) for key, value in words.items()}
        case list() | tuple():
            return [_deep(value, of) for value in words]
        case Schema():
            return of(words)
    return words


def _help(self: Any, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """Return the help of a setting as its description; apispec calls this."""
    return {"description": field.metadata["help"]} if "help" in field.metadata else {}


def _bounds(self: Any, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """Return the limits that a field sets on its values; apispec calls this."""
    match field:
        case Identifier():
            return {"pattern": f"^{ID_PATTERN.pattern}$"}
        case Text():
            return {"maxLength": field.maximum}
        case Time():
            return {"description": _TIME, **ret}
        case Duration():
            return {"pattern": _DURATION}
        case Number():
            bounds = {"minimum": field.minimum, "maximum": field.maximum}
            return bounds | ({"format": "int64"} if field.maximum <= INT64_MAX else {})
        case fields.Integer():
            return {"format": "int64"}
        case fields.Mapping():
            return _of_mapping(self, field, ret)
    return {}


def _of_mapping(self: Any, field: fields.Mapping[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """Return the limits of a mapping. Remove apispec's, which treats its length as a string's."""
    for word in ("minLength", "maxLength"):
        ret.pop(word, None)
    made: dict[str, Any] = {}
    for check in field.validators:
        if isinstance(check, validate.Length) and check.max is not None:
            made["maxProperties"] = check.max
    if isinstance(field.key_field, Text):
        made["propertyNames"] = self.field2property(field.key_field)
    return made


def _constant(self: Any, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(field, fields.Constant):
        return {}
    ret.clear()
    return _words_of(field.constant)


def _words_of(value: Any) -> dict[str, Any]:
    """Return the OpenAPI description of a constant value."""
    match value:
        case Mapping():
            inner = {key: _words_of(each) for key, each in value.items()}
            return {"type": "object", "properties": inner, "required": sorted(inner)}
        case list() | tuple():
            return {"type": "array", "const": list(value)}
    return {"type": _TYPES[type(value)], "const": value}


def _optional(self: Any, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    return {_OPTIONAL: True} if field.metadata.get("optional") else {}


def _as_answered(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema of answers: they have every field, and more may be added later."""
    properties = {
        name: {word: value for word, value in each.items() if word not in ("default", "readOnly")}
        for name, each in schema["properties"].items()
    }
    required = sorted(name for name, each in properties.items() if not each.pop(_OPTIONAL, False))
    made = {word: value for word, value in schema.items() if word != "additionalProperties"}
    return {**made, "properties": properties, "required": required}


def _as_taken(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema of request bodies, without the fields that only plugind sets."""
    properties = {
        name: each for name, each in schema["properties"].items() if not each.get("readOnly")
    }
    return {**schema, "properties": properties}
