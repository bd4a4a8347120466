"""The OpenAPI document and docs/api.md describe the API correctly."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from marshmallow import fields, validate

from plugind.api import TABLE
from plugind.api.components import Components
from plugind.api.endpoints import no_token
from plugind.api.openapi import document
from plugind.api.reference import api_reference
from plugind.model.times import INT64_MAX
from plugind.plugin_type import PluginType, WireSchema
from plugind.schemas.plugins import PluginSchemas
from plugind.types.registry import load_registry
from plugind.wire.fields import Duration, Flag, Identifier, Number, Text, Time
from tests.api.fuzzing import ALLOCATION, NODE_ID, As, acl_config
from tests.promises import COMMAND_MAXIMUM
from tests.support import FakeAgent, serving, up

ROOT = Path(__file__).parent.parent.parent


class InfoSchema(WireSchema):
    Wheels = Number(load_default=0)


class WheelSchema(WireSchema):
    """One field of every kind that a type may have."""

    flag = Flag(load_default=False)
    number = Number(load_default=1, minimum=1, maximum=9)
    text = Text(load_default="", maximum=7)
    name = Identifier(load_default="x")
    span = Duration(load_default=1.0)
    moment = Time(load_default=None)
    labels = fields.Dict(Text(maximum=3), Text(), validate=validate.Length(max=5))
    choice = fields.String(validate=validate.OneOf(["a", "b"]))
    info = fields.Nested(InfoSchema, load_default=None, allow_none=True)
    always = fields.Constant({"a": [None]})
    seldom = fields.String(metadata={"optional": True})


class WheelType(PluginType):
    name = "steering-wheel"
    roles: ClassVar = {"node": "Nodes"}
    default_role = "node"
    fingerprint_schemas: ClassVar = {"node": WheelSchema}


def schemas_of(*types: PluginType) -> dict[str, PluginSchemas]:
    return {type_.name: PluginSchemas.of(type_) for type_ in types}


def whole() -> Any:
    return document(TABLE, schemas_of(*load_registry().types.values()))


def refs(words: Any) -> Iterator[str]:
    if isinstance(words, dict):
        yield from [words["$ref"]] if "$ref" in words else []
        words = list(words.values())
    if isinstance(words, list):
        for each in words:
            yield from refs(each)


def test_it_is_answered_to_everybody(tmp_path: Path) -> None:
    config, _ = acl_config(tmp_path)
    with serving(tmp_path, live=False, config=config) as api:
        answer = api.call("GET", "/v1/openapi.json")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json == json.loads(json.dumps(whole()))
        assert api.call("GET", "/v1/nodes").status == 403


def test_every_endpoint_is_in_it_once() -> None:
    made = whole()
    operations = [one for path in made["paths"].values() for one in path.values()]
    assert len(operations) == len(TABLE)
    names = {one["operationId"] for one in operations}
    assert len(names) == len(operations)
    for one in operations:
        assert one["summary"].endswith("."), one
        assert re.search(r"Needs: \w.+\.", one["description"]), one
    open_ = {one["operationId"] for one in operations if not one["security"]}
    assert open_ == {each.view.__name__ for each in TABLE if each.need is no_token}


def test_it_has_everything_that_it_refers_to_and_nothing_else() -> None:
    made = whole()
    components = {f"#/components/schemas/{name}" for name in made["components"]["schemas"]}
    assert set(refs(made)) == components


def test_schemas_of_reports_and_answers_have_different_names() -> None:
    schemas = schemas_of(*load_registry().types.values(), WheelType())
    made = document(TABLE, schemas)["components"]["schemas"]
    assert made["CsiRow"] != made["SteeringWheelRow"]
    assert made["ReportedSteeringWheelNodeFingerprint"]["required"] == ["Healthy"]
    assert "PluginID" not in made["ReportedSteeringWheelNodeFingerprint"]["properties"]
    answered = made["SteeringWheelNodeFingerprint"]
    assert set(answered["required"]) == set(answered["properties"]) - {"seldom"}
    assert "SteeringWheelInfo" in made
    assert "Steering-wheelNodePlugins" in made["Node"]["properties"]


def test_without_a_plugin_type_it_is_still_one() -> None:
    made = document(TABLE, {})
    (answer,) = made["paths"]["/v1/plugins"]["get"]["responses"]["200"]["content"].values()
    assert answer["schema"] == {"type": "array"}


WHOLE_NUMBER = {"type": "integer", "minimum": 1, "maximum": 9, "format": "int64"}
LABELS = {
    "type": "object",
    "additionalProperties": {"type": "string", "maxLength": 1024},
    "propertyNames": {"type": "string", "maxLength": 3},
    "maxProperties": 5,
}
ALWAYS = {"type": "object", "properties": {"a": {"type": "array", "const": [None]}}}
KINDS = {
    "flag": {"type": "boolean"},
    "number": WHOLE_NUMBER,
    "text": {"type": "string", "maxLength": 7},
    "name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"},
    "labels": LABELS,
    "choice": {"type": "string", "enum": ["a", "b"]},
    "always": ALWAYS | {"required": ["a"]},
    "seldom": {"type": "string"},
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_field_has_exact_words(name: str) -> None:
    components = Components(schemas_of(WheelType()), answered=True)
    components.of(WheelSchema())
    assert components.schemas()["Wheel"]["properties"][name] == KINDS[name]


def test_times_spans_and_what_may_be_null() -> None:
    components = Components({}, answered=True)
    components.of(WheelSchema())
    fields = components.schemas()["Wheel"]["properties"]
    assert fields["moment"]["type"] == ["string", "null"]
    assert fields["moment"]["format"] == "date-time"
    assert fields["info"]["anyOf"] == [{"$ref": "#/components/schemas/Info"}, {"type": "null"}]
    assert re.fullmatch(fields["span"]["pattern"], "1h30m")
    assert not re.fullmatch(fields["span"]["pattern"], "1h!30m")
    node = document(TABLE, {})["components"]["schemas"]["Node"]
    assert node["properties"]["CreateIndex"]["maximum"] == INT64_MAX


def test_the_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "api.md").read_text()
    assert written == api_reference(), "make it again as plugind.api.reference says"


def test_every_curl_of_the_reference_does_something(tmp_path: Path) -> None:
    shown = re.findall(r"^```sh\n(.*?)\n```$", api_reference(), re.MULTILINE | re.DOTALL)
    assert len(shown) == len(TABLE)
    config, secrets = acl_config(tmp_path)
    token = secrets["management"]
    types = load_registry().types.values()
    everything = {
        type_.name: {"ebs0": {type_.default_role: up(AllocID=ALLOCATION)}} for type_ in types
    }
    with serving(tmp_path, live=True, config=config) as api:
        agent = FakeAgent(As(api, token), NODE_ID, secret="drawn-at-random")
        for line in shown:
            agent.report({}, Plugins=everything, Allocations={ALLOCATION: {"JobID": "ebs"}})
            wanted = 409 if line.endswith("/heartbeat'") else 200
            assert status_of(line, api, token) == wanted, line


def status_of(line: str, api: Any, token: str) -> int:
    """Run the curl command of a line; return the status of the answer."""
    command = shlex.split(line.replace("http://127.0.0.1:4646", api.address))
    if "-N" in command:
        command.append("-I")  # the answer does not end
    done = subprocess.run(
        [*command, "-H", f"X-Nomad-Token: {token}", "-s", "-w", "\n%{http_code}"],
        capture_output=True,
        text=True,
        timeout=COMMAND_MAXIMUM,
    )
    return int(done.stdout.splitlines()[-1])
