"""Loads valid documents without marshmallow.

A marshmallow schema defines which documents are valid. A msgspec type is made from the schema, and
checks a document in C, many times faster. If this check finds anything that it does not know to be
valid, nothing is loaded: the schema then decides, and names the invalid fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NotRequired, Optional, TypedDict

import msgspec
from marshmallow import EXCLUDE, Schema, ValidationError, fields, missing, validate

from plugind.model.times import parse_time
from plugind.wire.fields import Flag, Number, Record, Text, Time, Whole

Check = Callable[[Any], object]
"""Raises ValidationError for a value that is wrong."""

_FAILURES = (msgspec.ValidationError, ValidationError, ValueError, TypeError)

_encode = msgspec.json.Encoder().encode
_typed_dict: Any = TypedDict


class Quick:
    """Loads what a ``schema`` loads, or nothing.

    ``check`` is called with the values by their names, and does what the schema's hooks do; without
    ``check``, the schema may have no hooks. Raise TypeError if it has, or if it has fields of other
    kinds than those of ``plugind.fields``, dictionaries and lists of these, and nested schemas.

    ``is_plain`` says that dumping a loaded document gives the same document again.
    """

    def __init__(self, schema: Schema, check: Check | None = None) -> None:
        if schema.unknown != EXCLUDE or not (check or _has_fields_only(type(schema))):
            raise TypeError(f"{type(schema).__name__} cannot be loaded quickly")
        self._check = check
        self._record = schema.record if isinstance(schema, Record) else None
        self._changes: list[tuple[str, Callable[[Any], Any]]] = []
        self._checks: list[tuple[str, Check]] = []
        self._defaults: list[tuple[str, str, Any]] = []
        self.is_plain = self._record is None and not check
        kinds: dict[str, Any] = {}
        for name, field in schema.load_fields.items():
            key = field.data_key or name
            kind = self._kind(name, field)
            kind = Optional[kind] if field.allow_none else kind  # noqa: UP045 (a value, no hint)
            kinds[key] = kind if field.load_default is missing else NotRequired[kind]
            self._defaults.append((name, key, field.load_default))
            is_same = key == name and field.attribute is None and not field.load_only
            self.is_plain &= is_same and name in schema.dump_fields
        self.type = _typed_dict(type(schema).__name__, kinds)

    @classmethod
    def of(cls, schema: Schema) -> Quick | None:
        """Return the quick loader of a schema; None if the schema cannot have one."""
        try:
            return cls(schema)
        except TypeError:
            return None

    def load(self, document: object) -> Any:
        """Return what the schema loads from a document; None if the schema has to decide."""
        try:
            found = msgspec.convert(document, self.type)
            values = self._made(found)
            _encode(found)  # raises ValueError for half of a surrogate pair
        except _FAILURES:
            return None
        return values

    def _made(self, found: Mapping[str, Any]) -> Any:
        """Return what the schema loads from a document whose values have the right types."""
        values = {}
        for name, key, default in self._defaults:
            if key in found:
                values[name] = found[key]
            else:
                values[name] = default() if callable(default) else default
        for name, change in self._changes:
            if values[name] is not None:
                values[name] = change(values[name])
        for name, check in self._checks:
            if values[name] is not None:
                check(values[name])
        if self._check:
            self._check(values)
        return values if self._record is None else self._record(**values)

    def _kind(self, name: str, field: fields.Field[Any]) -> Any:
        """Return the type of a field's values, and note how they are checked and changed."""
        lengths = []
        for each in field.validators:
            if isinstance(each, validate.Length) and each.min is None and each.equal is None:
                lengths.append(each.max)
            else:
                self._checks.append((name, each))
        kind = self._plain_kind(name, field)
        for length in lengths:
            kind = Annotated[kind, msgspec.Meta(max_length=length)]
        return kind

    def _plain_kind(self, name: str, field: fields.Field[Any]) -> Any:
        if type(field) is Time:
            self._changes.append((name, parse_time))
            self.is_plain = False
            return str
        if type(field) is fields.Nested and not field.many:
            nested = Quick(field.schema)
            self._changes.append((name, nested._made))
            self.is_plain &= nested.is_plain
            return nested.type
        if type(field) is fields.List:
            return list[_simple(field.inner)]  # type: ignore[misc]
        if type(field) is fields.Dict:
            return self._dict(name, field)
        return _simple(field)

    def _dict(self, name: str, field: fields.Dict) -> Any:
        if field.key_field is None and field.value_field is None:
            self.is_plain = False
            return dict
        if type(field.value_field) is not fields.Nested:
            return dict[_simple(field.key_field), _simple(field.value_field)]  # type: ignore[misc]
        nested = Quick(field.value_field.schema)
        self._changes.append(
            (name, lambda found: {key: nested._made(each) for key, each in found.items()})
        )
        self.is_plain = False
        return dict[_simple(field.key_field), nested.type]  # type: ignore[misc]


def _simple(field: object) -> Any:
    """Return the type of a field whose values are loaded as they are."""
    if type(field) is Text:
        return Annotated[str, msgspec.Meta(max_length=field.maximum)]
    if isinstance(field, Number) and type(field) in (Number, Whole):
        return Annotated[int, msgspec.Meta(ge=field.minimum, le=field.maximum)]
    if type(field) is Flag:
        return bool
    raise TypeError(f"{field!r} cannot be loaded quickly")


_OF_ANY_CLASS = frozenset(vars(type("Empty", (Schema,), {"__annotations__": {}})))


def _has_fields_only(schema: type[Schema]) -> bool:
    """Return whether a schema class has no code of its own."""
    own = [each for each in schema.__mro__ if each not in (Record, *Schema.__mro__)]
    return all(
        name in _OF_ANY_CLASS or name in ("Meta", "record") for each in own for name in vars(each)
    )
