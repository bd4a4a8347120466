"""``wire = "document"``: the sample answers of Nomad's API document, with one brace added.

Its samples are in ``document/``. They show invalid node IDs, and a topology ("val") of a node that
is not among its Nodes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import Api, FakeAgent, down, serving, up

SAMPLES = Path(__file__).parent / "document"
DECLARED = """
wire = "document"
plugin "csi" "example" {
  controllers_expected = 3
  nodes_expected       = 16
}
"""
SAMPLE_NODE = "example_node_id"


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text())


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path, live=False, config=DECLARED) as served:
        yield served


def fingerprint(half: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """Return the agent's report of a half that the document shows."""
    reported = {**half, **changed}
    if info := reported.get("NodeInfo"):
        topology = {"Segments": info["AccessibleTopology"]}
        reported["NodeInfo"] = {**info, "AccessibleTopology": topology}
    return reported


def test_the_list(api: Api) -> None:
    details = {
        "Provider": "aws.ebs",
        "ProviderVersion": "1.0.1",
        "RequiresControllerPlugin": True,
        "ControllerInfo": {"SupportsAttachDetach": True},
    }
    for number in range(16):
        node = up(**details) if number < 14 else down()
        roles = {"node": node} | ({"controller": up(**details)} if number < 2 else {})
        FakeAgent(api).report({"example": roles})
    got = api.call("GET", "/v1/plugins?type=csi")
    (want,) = sample("list")
    (row,) = got.json
    assert list(row) == list(want), "the keys, in the document's order"
    indexes = {key: row[key] for key in ("CreateIndex", "ModifyIndex")}
    assert row == {**want, **indexes}
    assert got.index == row["ModifyIndex"] > row["CreateIndex"]


def test_a_read(api: Api) -> None:
    agent, (want,) = FakeAgent(api), sample("read")
    controller, node = (want[plural][SAMPLE_NODE] for plural in ("Controllers", "Nodes"))
    agent.report({want["ID"]: {"controller": fingerprint(controller), "node": fingerprint(node)}})
    elsewhere = {**node["NodeInfo"], "AccessibleTopology": {"key": "val"}}
    other = FakeAgent(api, name="vm2")
    other.report({want["ID"]: {"node": fingerprint(node, NodeInfo=elsewhere)}})

    got = api.call("GET", f"/v1/plugin/csi/{want['ID']}").body.decode()
    text = got.replace(agent.node_id, SAMPLE_NODE)
    (body,) = json.loads(text)
    assert body["Nodes"].pop(other.node_id)["NodeInfo"] == elsewhere
    body["NodesHealthy"] -= 1
    assert body == want
    assert json.dumps(body) == json.dumps(want), "the keys, in the document's order"


def test_fields_that_a_driver_never_reported(api: Api) -> None:
    agent = FakeAgent(api)
    agent.report({"nfs": {"node": {**down(), "UpdateTime": "2020-01-31T00:00:00.5Z"}}})
    (body,) = api.call("GET", "/v1/plugin/csi/nfs").json
    assert body["Nodes"][agent.node_id]["NodeInfo"]["AccessibleTopology"] is None
    assert body["Nodes"][agent.node_id]["UpdateTime"] == "2020-01-31T00:00:00.500Z"
    assert api.call("GET", "/v1/plugin/csi/none").text == "plugin not found"
    assert api.call("GET", f"/v1/node/{agent.node_id}").json["ID"] == agent.node_id
