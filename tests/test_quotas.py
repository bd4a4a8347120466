"""The limits of storage, each tested on both sides; reaching a limit loses no stored instances."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from plugind.acl.tokens import CLIENT, MANAGEMENT, block, draw
from plugind.config.settings import ServerLimits
from plugind.intake.quotas import Quotas
from plugind.model import Change, Fingerprint, Instance, InstanceKey, Node, Step
from plugind.schemas.plugins import PluginSchemas
from plugind.state import State
from plugind.state.amounts import NOTHING, SIZE_MINIMUM, of_instance, of_node
from plugind.store.base import Contents
from plugind.testing.serving import load
from tests.support import Api, FakeAgent, down, serving, up

REGISTER = """
namespace "default" {
  policy       = "read"
  capabilities = ["csi-register-plugin"]
}
node { policy = "read" }
"""


class Tokens:
    """A server with ACLs, and the secrets of its tokens by name."""

    def __init__(self, folder: Path) -> None:
        self.secrets: dict[str, str] = {}
        self.accessors: dict[str, str] = {}
        (folder / "policies").mkdir()
        (folder / "policies/agents.hcl").write_text(REGISTER)
        blocks = []
        for name in ("one", "two", "boss"):
            kind, policies = (MANAGEMENT, []) if name == "boss" else (CLIENT, ["agents"])
            self.secrets[name], token = draw(name, kind, policies, None)
            self.accessors[name] = token.caller.accessor
            blocks.append(block(token))
        (folder / "tokens.hcl").write_text("".join(blocks))
        self.config = f"""
acl {{
  enabled  = true
  policies = "{folder}/policies"
  tokens   = "{folder}/tokens.hcl"
}}
"""


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path)


@contextmanager
def limited(folder: Path, tokens: Tokens | None = None, **limits: str) -> Iterator[Api]:
    flags = {f"server_{name}": value for name, value in limits.items()}
    config = tokens.config if tokens else ""
    with serving(folder, live=False, config=config, **flags) as api:
        yield api


def rejected(answer: Any) -> list[tuple[str, str]]:
    assert answer.status == 200, answer.text
    return [(item["ID"], item["Reason"]) for item in answer.json["Rejected"]]


def wide(size: int) -> dict[str, Any]:
    """Return a healthy fingerprint of at least about ``size`` bytes."""
    segments = {f"k{number}": "x" * 1_000 for number in range(size // 1_000)}
    return up(NodeInfo={"ID": "i", "AccessibleTopology": {"Segments": segments}})


def plugins(*ids: str) -> dict[str, Any]:
    return {id_: {"node": up()} for id_ in ids}


def stored(api: Api, token: str = "") -> dict[str, bool]:
    headers = {"X-Nomad-Token": token} if token else {}
    rows = api.call("GET", "/v1/plugins?type=csi", headers=headers).json
    return {row["ID"]: row["NodesHealthy"] > 0 for row in rows}


def test_nodes_in_all(tmp_path: Path) -> None:
    with limited(tmp_path, max_nodes="2") as api:
        first, second, third = (FakeAgent(api) for _ in range(3))
        assert first.report(plugins("a")).status == 200
        assert second.report(plugins("b")).status == 200
        answer = third.report(plugins("c"))
        assert answer.status == 403
        assert "server.max_nodes of 2 nodes" in answer.text
        assert stored(api) == {"a": True, "b": True}
        assert api.services.hits.counts == {"max_nodes": 1}
        assert first.report(plugins("a", "d")).status == 200, "a stored one goes on"
        assert api.call("DELETE", f"/v1/node/{second.node_id}").status == 200
        assert third.report(plugins("c")).status == 200


def test_instances_in_all_and_stored_ones_go_on(tmp_path: Path) -> None:
    with limited(tmp_path, max_instances="2") as api:
        agent = FakeAgent(api)
        assert rejected(agent.report(plugins("a", "b"))) == []
        assert agent.beat().status == 200
        answer = agent.report({**plugins("b", "c"), "a": {"node": down("fire")}})
        ((id_, reason),) = rejected(answer)
        assert (id_, "server.max_instances of 2 instances" in reason) == ("c", True)
        assert stored(api) == {"a": False, "b": True}, "the news of a dead driver is taken"
        assert api.services.hits.counts == {"max_instances": 1}
        index = answer.json["Index"]
        assert agent.beat().status == 409, "there may be room by now"
        again = agent.report({**plugins("b", "c"), "a": {"node": down("fire")}})
        assert (again.json["Index"], len(rejected(again))) == (index, 1)
        # One report removes an instance and adds another.
        assert rejected(agent.report({**plugins("b", "c"), "a": {"node": None}})) == []
        assert stored(api) == {"b": True, "c": True}
        assert agent.beat().status == 200


def test_a_new_node_is_stored_without_the_instances_that_find_no_room(tmp_path: Path) -> None:
    with limited(tmp_path, max_instances="1") as api:
        FakeAgent(api).report(plugins("a"))
        agent = FakeAgent(api)
        assert [id_ for id_, _ in rejected(agent.report(plugins("b", "c")))] == ["b", "c"]
        assert api.call("GET", f"/v1/node/{agent.node_id}").status == 200
        assert stored(api) == {"a": True}
        api.call("DELETE", "/v1/plugin/csi/a")
        assert stored(api) == {"a": True}, "it is healthy"


def test_a_missing_instance_comes_back_at_the_limit(tmp_path: Path) -> None:
    with limited(tmp_path, max_instances="1") as api:
        agent = FakeAgent(api)
        agent.report(plugins("a"))
        agent.report({})
        assert stored(api) == {"a": False}
        assert rejected(agent.report(plugins("a"))) == []
        assert stored(api) == {"a": True}


def test_a_forgotten_instance_stays_forgotten_where_there_is_no_room(tmp_path: Path) -> None:
    with limited(tmp_path, max_instances="1") as api:
        agent = FakeAgent(api)
        agent.report({"a": {"node": down()}})
        api.call("DELETE", "/v1/plugin/csi/a")
        FakeAgent(api).report(plugins("b"))
        assert [id_ for id_, _ in rejected(agent.report(plugins("a")))] == ["a"]
        assert len(api.services.store.load().forgotten) == 1


def test_one_token_leaves_room_for_another(tmp_path: Path, tokens: Tokens) -> None:
    with limited(tmp_path, tokens, max_nodes_per_token="2", max_instances_per_token="3") as api:
        mine = [FakeAgent(api, token=tokens.secrets["one"]) for _ in range(3)]
        assert [agent.report(plugins("a")).status for agent in mine] == [200, 200, 403]
        answer = mine[2].report({})
        assert "server.max_nodes_per_token of 2 nodes" in answer.text
        (only,) = rejected(mine[0].report(plugins("a", "b", "c")))
        assert "server.max_instances_per_token of 3 instances" in only[1]
        theirs = FakeAgent(api, token=tokens.secrets["two"])
        assert rejected(theirs.report(plugins("a", "b", "c"))) == []
        assert api.services.hits.counts == {
            "max_nodes_per_token": 2,
            "max_instances_per_token": 1,
        }


def test_a_node_counts_for_the_token_that_reports_it_now(tmp_path: Path, tokens: Tokens) -> None:
    def accessor(api: Api) -> str:
        return api.services.store.load().nodes[0].accessor

    with limited(tmp_path, tokens, max_instances_per_token="2") as api:
        agent = FakeAgent(api, token=tokens.secrets["one"])
        index = agent.report(plugins("a", "b")).json["Index"]
        assert accessor(api) == tokens.accessors["one"]
        agent.token = tokens.secrets["two"]
        assert agent.report(plugins("a", "b")).json["Index"] == index, "it reports the same"
        assert accessor(api) == tokens.accessors["one"]
        assert len(rejected(agent.report(plugins("a", "b", "c")))) == 1
        assert rejected(agent.report(plugins("b"))) == []
        assert accessor(api) == tokens.accessors["two"]
        other = FakeAgent(api, token=tokens.secrets["one"])
        assert rejected(other.report(plugins("a", "b"))) == []


def test_the_size_of_one_instance(tmp_path: Path) -> None:
    with limited(tmp_path, max_instance_size="8192") as api:
        agent = FakeAgent(api)
        assert rejected(agent.report({"a": {"node": wide(6_000)}})) == []
        large = {"a": {"node": wide(9_000)}, "b": {"node": wide(9_000)}, "c": {"node": up()}}
        found = rejected(agent.report(large))
        assert [id_ for id_, _ in found] == ["a", "b"]
        assert all(
            "8,192 bytes that server.max_instance_size allows" in reason for _, reason in found
        )
        assert stored(api) == {"a": False, "b": False, "c": True}
        body = api.call("GET", "/v1/plugin/csi/a").json["Nodes"][agent.node_id]
        assert body["HealthDescription"].startswith("the agent's report of it was rejected: ")
        assert len(body["NodeInfo"]["AccessibleTopology"]["Segments"]) == 6, "its last value"
        body = api.call("GET", "/v1/plugin/csi/b").json["Nodes"][agent.node_id]
        assert body["NodeInfo"]["ID"] == "", "never null"
        index = api.services.catalogue.index
        assert agent.report(large).json["Index"] == index, "the same report changes nothing"
        assert rejected(agent.report({"a": {"node": wide(5_000)}, "b": {"node": up()}})) == []
        assert stored(api) == {"a": True, "b": True, "c": False}


def test_an_instance_that_is_too_large_since_a_restart_may_stay(tmp_path: Path) -> None:
    with limited(tmp_path) as api:
        agent = FakeAgent(api)
        agent.report({"a": {"node": wide(20_000)}})
    with limited(tmp_path, max_instance_size="8192") as api:
        agent.api = api
        report = {"a": {"node": {**wide(20_000), "HealthDescription": "OK"}}}
        assert rejected(agent.report(report)) == []
        assert stored(api) == {"a": True}


def test_the_bytes_of_a_token(tmp_path: Path, tokens: Tokens) -> None:
    with limited(
        tmp_path, tokens, max_storage_per_token=str(2**20), max_instance_size=str(2**20)
    ) as api:
        agent = FakeAgent(api, token=tokens.secrets["one"])
        assert rejected(agent.report({"a": {"node": wide(200_000)}, **plugins("b")})) == []
        many = {f"x{number}": {"node": wide(200_000)} for number in range(4)}
        full = {"a": {"node": wide(200_000)}, **plugins("b"), **many}
        found = rejected(agent.report(full))
        assert [id_ for id_, _ in found] == ["x3"]
        assert "server.max_storage_per_token of 1,048,576 bytes" in found[0][1]
        # A stored instance may change within its size, and one of usual size may grow a little.
        full["b"] = {"node": down("Probe failed: a reason of some length")}
        full["a"] = {"node": {**wide(199_000), "Healthy": False}}
        assert [id_ for id_, _ in rejected(agent.report(full))] == ["x3"]
        assert stored(api, tokens.secrets["one"])["b"] is False
        grown = {**full, "b": {"node": wide(100_000)}}
        assert [id_ for id_, _ in rejected(agent.report(grown))] == ["b", "x3"]
        reader = {"X-Nomad-Token": tokens.secrets["one"]}
        body = api.call("GET", "/v1/plugin/csi/b", headers=reader).json["Nodes"][agent.node_id]
        assert "max_storage_per_token" in body["HealthDescription"]
        other = FakeAgent(api, token=tokens.secrets["two"])
        assert rejected(other.report({"a": {"node": wide(200_000)}})) == []


def test_a_nodes_own_texts_count(tmp_path: Path) -> None:
    with limited(tmp_path, max_storage=str(2**20), max_instance_size=str(2**20)) as api:
        agent = FakeAgent(api)
        most = {name: {"node": wide(250_000)} for name in "abc"} | {"d": {"node": wide(120_000)}}
        assert rejected(agent.report(most, Meta={"a": "b"})) == []
        meta = {f"k{number}": "x" * 4_000 for number in range(15)}
        answer = agent.report(most, Meta=meta, Version="2")
        assert [item["Field"] for item in answer.json["Rejected"]] == ["Meta"]
        node = api.call("GET", f"/v1/node/{agent.node_id}").json
        assert (node["Meta"], node["Version"]) == ({"a": "b"}, "2"), "the rest of it is taken"
        answer = FakeAgent(api).report({}, Meta=meta)
        assert (answer.status, "server.max_storage of" in answer.text) == (403, True)
        assert FakeAgent(api).report({}).status == 200


def test_limits_outlive_a_restart(tmp_path: Path, tokens: Tokens) -> None:
    with limited(tmp_path, tokens, max_instances_per_token="2") as api:
        FakeAgent(api, token=tokens.secrets["one"]).report(plugins("a", "b"))
    with limited(tmp_path, tokens, max_instances_per_token="2") as api:
        agent = FakeAgent(api, token=tokens.secrets["one"])
        assert len(rejected(agent.report(plugins("c")))) == 1


def test_a_change_that_cannot_be_written_is_not_counted(tmp_path: Path) -> None:
    with limited(tmp_path, max_instances="1") as api:
        agent = FakeAgent(api)
        agent.report({})
        state = api.services.feed.state
        change = Change(1, instances=(Step(None, instance(agent.node_id)),))
        grown = state.apply(9, change)
        assert (state.usage.total.instances, grown.usage.total.instances) == (0, 1)
        assert grown.apply(10, change.back()).usage == state.usage


def instance(node_id: str, **details: Any) -> Instance:
    key = InstanceKey(node_id, "csi", "a", "node")
    return Instance(key, Fingerprint(True, "healthy", 1, "", details))


def size(**details: Any) -> int:
    return of_instance(instance("n", **details)).size


def test_the_sizes_that_are_counted() -> None:
    assert size() == SIZE_MINIMUM == of_node(Node("n", "vm")).size
    assert 5_000 < size(a="x" * 5_000) < 5_100
    # One wide character widens a whole text in memory; many short texts cost more than a long one.
    assert size(a="x" * 5_000 + "💾") > 20_000
    assert size(**{f"k{number}": "v" for number in range(1_000)}) > 100_000
    assert size(a=[1] * 1_000) > 60_000


def test_a_real_fleet_fits_with_one_token(tmp_path: Path) -> None:
    """Check that one token has room for full reports of 10,000 nodes with ten drivers each.

    The controllers run on three nodes.
    """
    _, registry = load(tmp_path, "", {"server_enabled": "true"})
    limits = ServerLimits()
    state = State.of(Contents(1, [], [], [], {}))
    schemas = PluginSchemas.of(registry.types["csi"])
    fingerprint = {
        "Healthy": True,
        "Provider": "ebs.csi.aws.com",
        "ProviderVersion": "v1.22.0-eksbuild.1",
        "ControllerInfo": {"SupportsAttachDetach": True},
        "NodeInfo": {
            "ID": "i-0123456789abcdef0",
            "AccessibleTopology": {"Segments": {"topology.ebs.csi.aws.com/zone": "eu-central-1a"}},
        },
    }
    fleet = NOTHING
    for role, nodes in (("controller", 3), ("node", 10_000)):
        state = State.of(Contents(1, [], [], [], {}))
        details = schemas.details[role].dump(schemas.reported[role].load(fingerprint))
        for at in range(10):
            key = InstanceKey("n", "csi", f"ebs{at}", role)
            reason = "Probe failed: " + "x" * 300
            one = Instance(key, Fingerprint(True, reason, 1, "", details))
            state = state.apply(2 + at, Change(1, instances=(Step(None, one),)))
        fleet = fleet.plus(state.usage.total, nodes)
    labels = {f"unique.platform.aws.{at}": "x" * 30 for at in range(12)}
    fleet = fleet.plus(of_node(Node("n", "vm", attributes=labels)), 10_000)
    nodes, instances, bytes_ = fleet
    assert nodes <= limits.max_nodes_per_token <= limits.max_nodes
    assert instances <= limits.max_instances_per_token <= limits.max_instances
    assert bytes_ <= limits.max_storage_per_token <= limits.max_storage


def test_a_type_that_fails_to_say_what_is_not_known_stands_without_details(tmp_path: Path) -> None:
    quotas = Quotas(State.of(Contents(1, [], [], [], {})), ServerLimits(), {})
    large = instance("n", **json.loads(json.dumps({"a": "x" * 100_000})))
    node = Node("n", "vm")
    (step,) = quotas.admit_instances(None, node, [Step(None, large)], 7).steps
    assert step.after is not None
    assert (step.after.fingerprint.healthy, step.after.fingerprint.details) == (False, {})
