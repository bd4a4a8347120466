"""The kinds of a row's fields: text, numbers, lists..., derived from marshmallow schemas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from marshmallow import Schema, fields

from plugind.wire.fields import Flag, Number, Time

_NESTING_MAXIMUM = 8
"""Levels of a schema, which may contain itself; below them, the kind is taken from the values."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value without parts; ``name`` is its name in error messages."""

    name: str


TEXT = Scalar("text")
NUMBER = Scalar("a number")
BOOL = Scalar("true or false")
TIME = Scalar("a time")
ANY = Scalar("anything")
"""A kind that is known only once there is a value."""


@dataclass(frozen=True, slots=True)
class List:
    of: Kind
    name: ClassVar[str] = "a list"


@dataclass(frozen=True, slots=True)
class Map:
    """A map with any keys and values of one kind."""

    of: Kind
    name: ClassVar[str] = "a map"


@dataclass(frozen=True, slots=True, eq=False)
class Fields:
    """Named fields, each of its own kind: a row, or a part of one.

    Each is equal only to itself, because compiled expressions are cached by it.
    """

    by_name: Mapping[str, Kind]
    name: ClassVar[str] = "a group of fields"


Kind = Scalar | List | Map | Fields

# A field has the kind of the first class that it is an instance of.
_SCALARS: tuple[tuple[type[fields.Field[Any]], Scalar], ...] = (
    (fields.String, TEXT),
    (fields.Boolean, BOOL),
    (Flag, BOOL),
    (fields.Number, NUMBER),
    (Number, NUMBER),
    (Time, TIME),
)


def fields_of(schema: Schema) -> Fields:
    """Return the fields of the objects that a schema dumps, by their names on the wire."""
    return _fields_of(schema, 0)


def _fields_of(schema: Schema, nesting: int) -> Fields:
    return Fields(
        {
            field.data_key or name: _of_field(field, nesting)
            for name, field in schema.dump_fields.items()
        }
    )


def _of_field(field: fields.Field[Any], nesting: int) -> Kind:
    if nesting == _NESTING_MAXIMUM:
        return ANY
    match field:
        case fields.Constant():
            return kind_of(field.constant)
        case fields.List():
            return List(_of_field(field.inner, nesting + 1))
        case fields.Nested():
            nested = _fields_of(field.schema, nesting + 1)
            return List(nested) if field.many else nested
        case fields.Mapping():
            return Map(_of_field(field.value_field, nesting + 1) if field.value_field else ANY)
    return next((kind for type_, kind in _SCALARS if isinstance(field, type_)), ANY)


def kind_of(value: Any) -> Kind:
    """Return the kind of a value."""
    match value:
        case str():
            return TEXT
        case bool():
            return BOOL
        case int() | float():
            return NUMBER
        case list() | tuple():
            return _LIST
        case Mapping():
            return _MAP
    return ANY


_LIST = List(ANY)
_MAP = Map(ANY)
