"""Loading without marshmallow gives the same results as loading with marshmallow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, validates_schema

from plugind.plugin_type import WireSchema
from plugind.schemas.allocations import ReportedAllocationSchema
from plugind.schemas.nodes import (
    LABELS_MAXIMUM,
    HeartbeatSchema,
    ReportSchema,
    _bound_labels,
)
from plugind.schemas.plugins import PluginSchemas
from plugind.schemas.quick import Quick
from plugind.testing.samples import KINDS, of_schema
from plugind.types.registry import load_registry
from plugind.wire.fields import Text

TYPES = {name: PluginSchemas.of(type_) for name, type_ in load_registry().types.items()}
FINGERPRINTS = {
    f"{name} {role}": (schemas.quick[role], schemas.reported[role])
    for name, schemas in TYPES.items()
    for role in schemas.type.roles
}
SCHEMAS: dict[str, tuple[Quick, Schema]] = {
    **FINGERPRINTS,
    "report": (Quick(ReportSchema(), _bound_labels), ReportSchema()),
    "heartbeat": (Quick(HeartbeatSchema()), HeartbeatSchema()),
    "allocation": (Quick(ReportedAllocationSchema()), ReportedAllocationSchema()),
}
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7.0, 7.5, 2**63, 2**64, "", "x", "x" * 5_000, "\ud800"),
    *([], ["x"], [1], ["x"] * 1_001, {}, {"x": "y"}, {"x": 1}, {"\ud800": "x"}, {1: "x"}),
    *({"x": {"Count": 1, "Failures": 0, "Time": 2}}, {"x": {"Count": -1}}, {"x": {"Count": 7.0}}),
    *("2026-01-31T23:00:00.5Z", "2026-01-32T00:00:00Z", {str(n): "x" for n in range(257)}),
)


def outcome(schema: Schema, document: Any) -> Any:
    """Return what marshmallow loads; None if it rejects the document."""
    try:
        return schema.load(document)
    except ValidationError:
        return None


@pytest.mark.parametrize("name", SCHEMAS)
@given(data=st.data())
def test_quick_loads_the_same_or_nothing(name: str, data: st.DataObject) -> None:
    quick, schema = SCHEMAS[name]
    document = of_schema(schema, data.draw(st.sampled_from(KINDS)))
    for _ in range(data.draw(st.integers(0, 2))):
        key = data.draw(st.sampled_from([*document, "Unknown"]))
        if data.draw(st.booleans()):
            document[key] = data.draw(st.sampled_from(ODD))
        else:
            document.pop(key, None)
    found = quick.load(document)
    assert found is None or repr(found) == repr(outcome(schema, document))


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_agents_send_is_loaded_quickly(name: str) -> None:
    quick, schema = SCHEMAS[name]
    document = of_schema(schema, "plain")
    assert quick.load(document) == schema.load(document)


@pytest.mark.parametrize("name", FINGERPRINTS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_details_of_a_fingerprint_are_the_same(name: str, kind: str) -> None:
    type_, role = name.split()
    schemas = TYPES[type_]
    raw = {"Healthy": True, **of_schema(schemas.type.fingerprint_schemas[role](), kind)}
    loaded = outcome(schemas.reported[role], raw)
    if loaded is None:
        with pytest.raises(ValidationError):
            schemas.read(role, raw)
        return
    details = schemas.details[role].dump(loaded)
    assert repr(schemas.read(role, raw)) == repr((loaded, details))


def test_the_bounds_of_labels_hold() -> None:
    quick, _ = SCHEMAS["report"]
    half = {str(number): "x" for number in range(LABELS_MAXIMUM // 2)}
    report = {"Name": "vm", "Plugins": {}, "Meta": half}
    assert quick.load({**report, "Attributes": half}) is not None
    assert quick.load({**report, "Attributes": {**half, "more": "x"}}) is None
    assert quick.load({**report, "Meta": {}, "Attributes": {"x": "y" * 4_097}}) is None
    wide = {str(number): "y" * 4_096 for number in range(20)}
    assert quick.load({**report, "Meta": {}, "Attributes": wide}) is None


class _Hooked(WireSchema):
    Name = Text(load_default="")

    @validates_schema
    def check(self, data: Mapping[str, Any], **more: Any) -> None:
        raise ValidationError("never")


class _Loaded(WireSchema):
    Name = Text(load_default="")

    @post_load
    def change(self, data: Any, **more: Any) -> Any:
        return {**data, "Name": "changed"}


class _Overriding(WireSchema):
    Name = Text(load_default="")

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        return "changed"


class _OwnText(Text):
    def _deserialize(self, value: Any, attr: Any, data: Any, **more: Any) -> str:
        return "changed"


class _OwnField(WireSchema):
    Name = _OwnText(load_default="")


class _Raising(Schema):
    Name = Text(load_default="")


class _Inner(WireSchema):
    Inner = fields.Nested(_Hooked, load_default=None)


class _Number(Schema):
    class Meta:
        unknown = EXCLUDE

    Name = fields.Integer()


@pytest.mark.parametrize(
    "schema", [_Hooked, _Loaded, _Overriding, _OwnField, _Raising, _Inner, _Number]
)
def test_a_schema_with_code_of_its_own_is_left_to_marshmallow(schema: type[Schema]) -> None:
    assert Quick.of(schema()) is None
