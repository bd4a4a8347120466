"""/v1/plugin-types: the origin of each type, and the schemas of its answers and settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import validator_for
from marshmallow import Schema, fields

from plugind import __version__
from plugind.api.type_rows import json_schema, type_rows
from plugind.schemas.plugins import PluginSchemas
from plugind.types.registry import Origin, Registry
from tests.api.test_openapi import WheelSchema, WheelType
from tests.support import Api, FakeAgent, down, serving, up


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path, live=False) as api:
        yield api


def plugin_type(api: Api, name: str) -> Any:
    return {row["Name"]: row for row in api.call("GET", "/v1/plugin-types").json}[name]


def test_it_says_who_brings_a_type(api: Api) -> None:
    row = plugin_type(api, "csi")
    assert row["Title"] == "Container Storage Interface"
    assert row["Roles"] == {"controller": "Controllers", "node": "Nodes"}
    assert (row["Distribution"], row["Version"]) == ("plugind", __version__)
    assert set(row["Schemas"]) == {"Row", "Body", "Settings"}


def test_rows_and_bodies_are_as_their_schemas_say(api: Api) -> None:
    FakeAgent(api).report({"ebs0": {"controller": up(Provider="ebs"), "node": down()}})
    schemas = plugin_type(api, "csi")["Schemas"]
    (row,) = api.call("GET", "/v1/plugins?type=csi").json
    body = api.call("GET", "/v1/plugin/csi/ebs0").json
    is_row, is_body = validator_for(schemas["Row"]), validator_for(schemas["Body"])
    assert is_row.is_valid(row)
    assert is_body.is_valid(body)
    assert not is_row.is_valid({**row, "NodesHealthy": "1"})
    assert not is_row.is_valid({key: row[key] for key in row if key != "Provider"})
    (node,) = body["Nodes"].values()
    node["NodeInfo"]["MaxVolumes"] = "many"
    assert not is_body.is_valid(body)


def test_settings_are_as_their_schema_says(api: Api) -> None:
    schema = plugin_type(api, "exec")["Schemas"]["Settings"]
    good = {"probe_interval": "1m", "check": {"a": {"command": ["/bin/true"]}}}
    assert validator_for(schema).is_valid(good)
    assert validator_for(schema).is_valid({})
    for bad in ({"chek": {}}, {"probe_interval": 5}, {"check": {"a": {"comand": ["x"]}}}):
        assert not validator_for(schema).is_valid(bad)
    assert schema["properties"]["probe_interval"]["default"] == "30s"
    assert "programs to run" in schema["properties"]["check"]["description"]


class TreeSchema(Schema):
    branches = fields.List(fields.Nested(lambda: TreeSchema()))


def test_a_recursive_schema_is_complete() -> None:
    validator = validator_for(json_schema(TreeSchema(), answered=False))
    assert validator.is_valid({"branches": [{"branches": []}]})
    assert not validator.is_valid({"branches": [{"branches": 5}]})


class Wordless(fields.Field[Any]):
    @property
    def metadata(self) -> Any:
        raise RuntimeError("no words")

    @metadata.setter
    def metadata(self, value: Any) -> None: ...


def test_a_type_that_cannot_be_described_lacks_only_that_schema() -> None:
    class Odd(WheelType):
        settings_schema = Schema.from_dict({"odd": Wordless()})

    registry = Registry({"odd": Odd()}, origins={"odd": Origin("acme", "1")})
    (row,) = type_rows(registry, {"odd": PluginSchemas.of(Odd())})
    assert row["Schemas"]["Settings"] == {}
    assert row["Schemas"]["Row"]["type"] == "object"
    assert json_schema(WheelSchema(), answered=True)["properties"]["flag"] == {"type": "boolean"}
