"""Nodes that fall silent and come back, and what configuration declares."""

from __future__ import annotations

from pathlib import Path

from tests.support import FakeAgent, down, eventually, serving, up

DECLARED = """
plugin "csi" "ebs0" {
  controllers_expected = 3
  nodes_expected       = 2
}
"""


def test_a_silent_node_is_told_of_and_its_return_too(tmp_path: Path) -> None:
    with serving(tmp_path, live=False, server_heartbeat_ttl="1s") as api:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up(), "controller": down("disk on fire")}})
        digest = agent.digest
        index = api.call("GET", "/v1/plugins?type=csi&index=2&wait=20s").index
        assert index == 3
        body = api.call("GET", "/v1/plugin/csi/ebs0").json
        node, controller = body["Nodes"][agent.node_id], body["Controllers"][agent.node_id]
        assert (body["NodesHealthy"], body["NodesExpected"]) == (0, 1)
        assert node["HealthDescription"] == (
            f"nothing heard of node vm1 since {node['UpdateTime']}"
        )
        assert controller["HealthDescription"].endswith("before that: disk on fire")
        (stub,) = api.call("GET", "/v1/nodes").json
        assert stub["Status"] == "down"
        assert stub["StatusDescription"].startswith("nothing heard since")
        assert agent.beat(digest).status == 200
        body = api.call("GET", "/v1/plugin/csi/ebs0").json
        assert body["NodesHealthy"] == 1
        assert body["ModifyIndex"] == 4
        assert body["Nodes"][agent.node_id]["UpdateTime"] > node["UpdateTime"]
        assert body["Controllers"][agent.node_id]["HealthDescription"] == "disk on fire"
        eventually(lambda: api.call("GET", "/v1/nodes").json[0]["Status"] == "down")
        agent.report({"ebs0": {"node": up(), "controller": down("disk on fire")}})
        assert api.call("GET", "/v1/nodes").json[0]["Status"] == "ready"


def test_a_restart_of_the_server_silences_nobody_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, live=False) as api:
        FakeAgent(api).report({"ebs0": {"node": up()}})
    with serving(tmp_path, live=False) as api:
        assert api.call("GET", "/v1/nodes").json[0]["Status"] == "ready"
        assert api.call("GET", "/v1/plugins?type=csi").index == 2


def test_a_plugin_that_is_only_declared_is_shown(tmp_path: Path) -> None:
    with serving(tmp_path, live=False, config=DECLARED) as api:
        body = api.call("GET", "/v1/plugin/csi/ebs0").json
        assert (body["ControllersHealthy"], body["ControllersExpected"]) == (0, 3)
        assert (body["NodesHealthy"], body["NodesExpected"]) == (0, 2)
        assert (body["Provider"], body["Controllers"], body["Nodes"]) == ("", {}, {})
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        assert api.call("GET", "/v1/plugins?type=csi").json[0]["NodesHealthy"] == 1
        agent.report({"ebs0": {"node": None}})
        assert api.call("GET", "/v1/plugin/csi/ebs0").json["CreateIndex"] == 2
    with serving(tmp_path, live=False) as api:
        gone = api.call("GET", "/v1/plugin/csi/ebs0")
        assert (gone.status, gone.index) == (404, 5)
