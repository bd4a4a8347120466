"""The writes of agents (reports, heartbeats, leaving), and forgetting."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from plugind.api.endpoints import LARGE_BODY
from tests.support import SECRET, Api, FakeAgent, down, follows, second, up

OTHER = "11111111-2222-4333-8444-555555555555"


def rows(api: Api) -> dict[str, Any]:
    return {row["ID"]: row for row in api.call("GET", "/v1/plugins?type=csi").json}


def read(api: Api, id_: str = "ebs0") -> dict[str, Any]:
    answer = api.call("GET", f"/v1/plugin/csi/{id_}")
    assert answer.status == 200, answer.text
    body: dict[str, Any] = answer.json
    return body


def counts(body: dict[str, Any]) -> tuple[int, int, int, int]:
    return (
        body["ControllersHealthy"],
        body["ControllersExpected"],
        body["NodesHealthy"],
        body["NodesExpected"],
    )


def test_a_report_is_answered(api: Api, agent: FakeAgent) -> None:
    before = api.call("GET", "/v1/nodes").index
    answer = agent.report({"ebs0": {"node": up()}})
    assert answer.status == 200
    assert set(answer.json) == {"Index", "HeartbeatTTL", "Digest", "Rejected"}
    assert follows(api, answer.json["Index"], before)
    assert answer.json["Index"] == api.call("GET", "/v1/nodes").index
    assert answer.json["Rejected"] == []
    assert answer.json["HeartbeatTTL"] == 3_600_000_000_000


def test_the_same_report_again_changes_nothing(api: Api, agent: FakeAgent) -> None:
    plugins = {"ebs0": {"node": up(UpdateTime="2026-01-01T00:00:00Z"), "controller": down()}}
    first = agent.report(plugins, RunID="one").json
    before = api.call("GET", "/v1/plugin/csi/ebs0").body
    plugins["ebs0"]["node"]["UpdateTime"] = "2026-02-02T00:00:00Z"
    again = agent.report(plugins, RunID="two").json
    assert (again["Index"], again["Digest"]) == (first["Index"], first["Digest"])
    assert api.call("GET", "/v1/plugin/csi/ebs0").body == before


def test_the_time_is_of_the_last_change_of_anything_else(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": up(UpdateTime="2026-01-01T00:00:00Z")}})
    agent.report({"ebs0": {"node": up(UpdateTime="2026-01-02T00:00:00Z", Unknown=5)}})
    assert read(api)["Nodes"][agent.node_id]["UpdateTime"] == "2026-01-01T00:00:00Z"
    agent.report({"ebs0": {"node": down(UpdateTime="2026-01-03T00:00:00Z")}})
    assert read(api)["Nodes"][agent.node_id]["UpdateTime"] == "2026-01-03T00:00:00Z"


def test_one_report_has_one_index_for_all_it_touches(api: Api, agent: FakeAgent) -> None:
    agent.report({"a": {"node": up()}, "b": {"node": up()}})
    first = agent.index
    answer = agent.report({"a": {"node": down()}, "b": {"node": down()}, "c": {"node": up()}})
    assert {row["ModifyIndex"] for row in rows(api).values()} == {answer.json["Index"]}
    assert rows(api)["a"]["CreateIndex"] == first
    assert rows(api)["c"]["CreateIndex"] == answer.json["Index"]


def test_a_change_of_one_plugin_leaves_the_index_of_another(api: Api, agent: FakeAgent) -> None:
    agent.report({"a": {"node": up()}, "b": {"node": up()}})
    first = agent.index
    agent.report({"a": {"node": down()}, "b": {"node": up()}})
    assert rows(api)["a"]["ModifyIndex"] == agent.index
    assert rows(api)["b"]["ModifyIndex"] == first
    assert follows(api, agent.index, first)


def test_counts_over_nodes(api: Api) -> None:
    one, two = FakeAgent(api), FakeAgent(api, name="vm2", secret="another")
    one.report({"ebs0": {"controller": up(), "node": up()}})
    two.report({"ebs0": {"node": down()}})
    assert counts(read(api)) == (1, 1, 1, 2)
    assert set(read(api)["Nodes"]) == {one.node_id, two.node_id}


def test_an_instance_that_a_report_lacks_is_missing_and_not_dropped(
    api: Api, agent: FakeAgent
) -> None:
    agent.report({"ebs0": {"node": up(Provider="ebs.example")}, "nfs": {"node": up()}})
    agent.report({"nfs": {"node": up()}})
    node = read(api)["Nodes"][agent.node_id]
    assert node["Healthy"] is False
    assert node["HealthDescription"] == f"not reported by vm1 since {second(node['UpdateTime'])}"
    assert node["Provider"] == "ebs.example"
    assert counts(read(api)) == (0, 0, 0, 1)
    missing = node["UpdateTime"]
    agent.report({"nfs": {"node": up()}})
    assert read(api)["Nodes"][agent.node_id]["UpdateTime"] == missing
    agent.report({"ebs0": {"node": up(Provider="ebs.example")}, "nfs": {"node": up()}})
    back = read(api)["Nodes"][agent.node_id]
    assert back["Healthy"] is True
    assert back["UpdateTime"] > missing


def test_null_is_gone_on_purpose(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"controller": up(), "node": up()}, "nfs": {"node": up()}})
    agent.report({"ebs0": {"controller": None, "node": up()}, "nfs": {"node": None}})
    assert counts(read(api)) == (0, 0, 1, 1)
    assert set(rows(api)) == {"ebs0"}
    assert api.call("GET", "/v1/plugin/csi/nfs").status == 404


def test_the_star_stands_for_the_roles_known_here(api: Api, agent: FakeAgent) -> None:
    agent.report({"new": {"*": down()}, "two": {"controller": up(), "node": up()}})
    assert counts(read(api, "new")) == (0, 0, 0, 1)
    agent.report({"new": {"*": down()}, "two": {"*": down("gone")}})
    assert counts(read(api, "two")) == (0, 1, 0, 1)
    agent.report({"new": {"node": up(), "*": down()}, "two": {"*": None}})
    assert counts(read(api, "new")) == (0, 1, 1, 1)
    assert "two" not in rows(api)


def test_an_unhealthy_fingerprint_keeps_what_it_leaves_out(api: Api, agent: FakeAgent) -> None:
    info = {"ID": "i-1", "MaxVolumes": 5, "RequiresNodeStageVolume": True}
    agent.report({"ebs0": {"node": up(Provider="ebs.example", NodeInfo=info)}})
    agent.report({"ebs0": {"node": down(NodeInfo={"MaxVolumes": 6})}})
    node = read(api)["Nodes"][agent.node_id]
    assert node["Provider"] == "ebs.example"
    assert node["NodeInfo"]["ID"] == "i-1"
    assert node["NodeInfo"]["MaxVolumes"] == 6
    agent.report({"ebs0": {"node": up()}})
    assert read(api)["Nodes"][agent.node_id]["NodeInfo"]["ID"] == ""


def test_heartbeats(api: Api, agent: FakeAgent) -> None:
    assert agent.beat("x").status == 409
    agent.report({"ebs0": {"node": up()}})
    answer = agent.beat()
    assert answer.status == 200
    assert answer.json["Digest"] == agent.digest
    assert answer.json["Index"] == agent.index
    assert agent.beat("another").status == 409


def test_a_forget_voids_the_digest_and_lasts_while_the_instance_is_unhealthy(
    api: Api, agent: FakeAgent
) -> None:
    plugins = {"ebs0": {"node": down()}}
    agent.report(plugins)
    answer = api.call("DELETE", "/v1/plugin/csi/ebs0").json
    assert answer.keys() == {"Index"}
    assert follows(api, answer["Index"], agent.index)
    assert api.call("GET", "/v1/plugin/csi/ebs0").status == 404
    assert agent.beat().status == 409
    agent.report(plugins)
    assert api.call("GET", "/v1/plugin/csi/ebs0").status == 404
    assert agent.beat().status == 200
    agent.report({"ebs0": {"node": up()}})
    assert counts(read(api)) == (0, 0, 1, 1)
    agent.report(plugins)
    assert counts(read(api)) == (0, 0, 0, 1)


def test_a_forget_takes_only_what_is_not_healthy(api: Api) -> None:
    one, two = FakeAgent(api), FakeAgent(api, name="vm2")
    one.report({"ebs0": {"node": up()}})
    two.report({"ebs0": {"node": up()}})
    two.report({})
    api.call("DELETE", "/v1/plugin/csi/ebs0")
    assert counts(read(api)) == (0, 0, 1, 1)
    assert two.beat().status == 200, "it no longer reports what was forgotten"
    assert api.call("DELETE", "/v1/plugin/csi/none").status == 404


def test_a_node_leaves_with_its_instances(api: Api) -> None:
    one, two = FakeAgent(api), FakeAgent(api, name="vm2")
    one.report({"ebs0": {"node": up()}, "nfs": {"node": up()}})
    two.report({"ebs0": {"node": up()}})
    assert api.call("DELETE", f"/v1/node/{one.node_id}", headers=one.headers).status == 200
    assert set(rows(api)) == {"ebs0"}
    assert counts(read(api)) == (0, 0, 1, 1)
    assert [node["ID"] for node in api.call("GET", "/v1/nodes").json] == [two.node_id]
    assert api.call("DELETE", f"/v1/node/{one.node_id}").status == 404
    assert one.beat().status == 409


def test_the_first_report_pins_the_secret(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": up()}})
    thief = FakeAgent(api, agent.node_id, secret="guessed", digest=agent.digest)
    assert thief.report({"ebs0": {"node": None}}).status == 403
    assert thief.beat().status == 403
    assert counts(read(api)) == (0, 0, 1, 1)
    assert SECRET not in api.call("GET", f"/v1/node/{agent.node_id}").text
    nobody = api.call("PUT", f"/v1/node/{OTHER}", {"Name": "x", "Plugins": {}})
    assert (nobody.status, "X-Plugind-Node-Secret" in nobody.text) == (400, True)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "the body must be a JSON object"),
        (b'"x"', "the body must be a JSON object"),
        (b'{"Plugins": {}}', "Name"),
        (b'{"Name": "x"}', "Plugins"),
        (b'{"Name": 5, "Plugins": {}}', "Name: must be a string"),
        (b'{"Name": "x", "Plugins": []}', "Plugins"),
        (b'{"Name": "x", "Plugins": {}, "Datacenter": null}', "Datacenter"),
        (b'{"Name": "x", "Plugins": {}, "Meta": {"a": 5}}', "Meta.a: must be a string"),
        (b'{"Name": "x", "Plugins": {}, "Attributes": []}', "Attributes"),
        (b'{"Name": "x", "Plugins": {"csi": {}, "csi": {}}}', "'csi' twice"),
        (b'{"Name": "x", "Plugins": {"csi": NaN}}', "NaN"),
        (b'{"Name": "\\ud800", "Plugins": {}}', "Name: must be valid Unicode"),
        (b'{"Name": "x", "Plugins": {}, "Meta": {"\\ud800": "x"}}', "Meta.?: must be valid"),
        (b'{"Name": "x", "Plugins": {}, "Meta": {"a\\nb": 5}}', "Meta.a b: must be a string"),
        (b'{"Name": "x", "Plugins": {"csi": ' + b"[" * 40 + b"]" * 40 + b"}}", "deeper than 32"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_errors_of_the_envelope_change_nothing(
    api: Api, agent: FakeAgent, body: bytes, expected: str
) -> None:
    agent.report({"ebs0": {"node": up()}})
    answer = api.call("PUT", f"/v1/node/{agent.node_id}", body, agent.headers)
    assert answer.status == 400
    assert expected in answer.text
    assert "\n" not in answer.text
    assert api.call("GET", "/v1/plugins?type=csi").index == agent.index
    assert agent.beat().status == 200


def test_a_report_that_is_too_large(api: Api, agent: FakeAgent) -> None:
    body = b'{"Name":"x","Plugins":{},"Meta":{"a":"' + b"x" * LARGE_BODY + b'"}}'
    assert api.call("PUT", f"/v1/node/{agent.node_id}", body, agent.headers).status == 413


@pytest.mark.parametrize("node_id", ["x", OTHER.upper()[:-1] + "A", OTHER[:-1], "%20"])
def test_node_ids_are_uuids(api: Api, node_id: str) -> None:
    headers = {"X-Plugind-Node-Secret": "s"}
    answer = api.call("PUT", f"/v1/node/{node_id}", {"Name": "x", "Plugins": {}}, headers)
    assert answer.status == 400
    assert "UUID" in answer.text


BAD_ITEMS: list[tuple[str, Any, tuple[str, str, str]]] = [
    ("ebs0", {"node": {}}, ("ebs0", "node", "Healthy")),
    ("ebs0", {"node": {"Healthy": "yes"}}, ("ebs0", "node", "Healthy")),
    ("ebs0", {"node": {"Healthy": True, "Provider": 5}}, ("ebs0", "node", "Provider")),
    ("ebs0", {"node": {"Healthy": True, "NodeInfo": None}}, ("ebs0", "node", "NodeInfo")),
    (
        "ebs0",
        {"node": {"Healthy": True, "NodeInfo": {"MaxVolumes": 2**63}}},
        ("ebs0", "node", "NodeInfo.MaxVolumes"),
    ),
    (
        "ebs0",
        {"node": {"Healthy": True, "NodeInfo": {"MaxVolumes": 10**30}}},
        ("ebs0", "node", "NodeInfo.MaxVolumes"),
    ),
    ("ebs0", {"node": {"Healthy": True, "Provider": "\ud800"}}, ("ebs0", "node", "Provider")),
    ("ebs0", {"node": {"Healthy": True, "UpdateTime": "x"}}, ("ebs0", "node", "UpdateTime")),
    (
        "ebs0",
        {"node": {"Healthy": True, "HealthDescription": "x" * 5000}},
        ("ebs0", "node", "HealthDescription"),
    ),
    (
        "ebs0",
        {"node": up(NodeInfo={"AccessibleTopology": {"Segments": {"\ud800": "x"}}})},
        ("ebs0", "node", "NodeInfo.AccessibleTopology.Segments.?"),
    ),
    (
        "ebs0",
        {"node": up(NodeInfo={"AccessibleTopology": {"Segments": {"k" * 5000: "x"}}})},
        ("ebs0", "node", "NodeInfo.AccessibleTopology.Segments." + "k" * 64),
    ),
    ("ebs0", {"node": [1]}, ("ebs0", "node", "")),
    ("ebs0", {"pilot": up()}, ("ebs0", "pilot", "Role")),
    ("ebs0", [], ("ebs0", "", "ID")),
    ("-x", {"node": up()}, ("-x", "", "ID")),
    ("a/b", {"node": up()}, ("a/b", "", "ID")),
    ("\ud800", {"node": up()}, ("?", "", "ID")),
    ("x" * 129, {"node": up()}, ("x" * 64, "", "ID")),
]


@pytest.mark.parametrize(("id_", "roles", "expected"), BAD_ITEMS)
def test_a_bad_item_holds_no_other_back(
    api: Api, agent: FakeAgent, id_: str, roles: Any, expected: tuple[str, str, str]
) -> None:
    answer = agent.report({"good": {"node": up()}, id_: roles, "last": {"controller": up()}})
    assert answer.status == 200
    (rejected,) = answer.json["Rejected"]
    assert (rejected["ID"], rejected["Role"], rejected["Field"]) == expected
    assert rejected["Reason"]
    assert {"good", "last"} <= set(rows(api))
    if expected[1] == "node":
        node = read(api)["Nodes"][agent.node_id]
        assert node["Healthy"] is False
        assert rejected["Reason"] in node["HealthDescription"]
    else:
        assert "ebs0" not in rows(api)
    again = agent.report({"good": {"node": up()}, id_: roles, "last": {"controller": up()}})
    assert again.json["Rejected"] == answer.json["Rejected"], (
        "it is reported for as long as it is so"
    )
    assert again.json["Index"] == answer.json["Index"]
    assert agent.beat().status == 200


def test_an_unknown_type_is_rejected(api: Api, agent: FakeAgent) -> None:
    body = {"Name": "vm1", "Plugins": {"nope": {"x": {"node": up()}}, "csi": {"a": {"node": up()}}}}
    answer = api.call("PUT", f"/v1/node/{agent.node_id}", body, agent.headers)
    (rejected,) = answer.json["Rejected"]
    assert (rejected["Type"], rejected["Field"]) == ("nope", "Type")
    assert "csi" in rejected["Reason"]
    assert set(rows(api)) == {"a"}


def test_a_rejected_fingerprint_keeps_the_last_known_details(api: Api, agent: FakeAgent) -> None:
    good = {"ebs0": {"node": up(Provider="ebs.example", ProviderVersion="1")}}
    agent.report(good)
    bad = copy.deepcopy(good)
    bad["ebs0"]["node"]["ProviderVersion"] = 2
    agent.report(bad)
    node = read(api)["Nodes"][agent.node_id]
    assert (node["Healthy"], node["Provider"], node["ProviderVersion"]) == (
        False,
        "ebs.example",
        "1",
    )
    agent.report(good)
    assert read(api)["Nodes"][agent.node_id]["Healthy"] is True


def test_the_list_of_mistakes_is_bounded(api: Api, agent: FakeAgent) -> None:
    many = {f"{n}{'k' * 2000}": "x" for n in range(1000)}
    answer = agent.report({}, Attributes=many)
    assert answer.status == 400
    assert answer.text.endswith("and 984 more mistakes.")
    assert len(answer.text) < 4096
    info = {"AccessibleTopology": {"Segments": many}}
    rejected = agent.report({"ebs0": {"node": up(NodeInfo=info)}}).json["Rejected"]
    assert len(rejected) == 17
    assert read(api)["NodesHealthy"] == 0


def test_the_instances_of_a_report_are_bounded(api: Api, agent: FakeAgent) -> None:
    most = {f"p{number}": {"node": up(), "controller": up()} for number in range(2048)}
    assert agent.report(most).status == 200
    for more in ({"role": up()}, {}, 5):
        answer = agent.report({**most, "more": more, **{f"x{n}": more for n in range(4096)}})
        assert (answer.status, answer.text) == (
            400,
            "Plugins: must have at most 4096 instances.",
        )
    assert len(rows(api)) == 2048
    assert agent.beat().status == 200


def test_a_topology_is_kept_or_replaced_as_a_whole(api: Api, agent: FakeAgent) -> None:
    def at(**segments: str) -> dict[str, Any]:
        return {"NodeInfo": {"AccessibleTopology": {"Segments": segments}}}

    agent.report({"ebs0": {"node": up(**at(zone="z1", rack="r1"))}})
    agent.report({"ebs0": {"node": down("one")}})
    assert read(api)["Topologies"] == [{"zone": "z1", "rack": "r1"}]
    agent.report({"ebs0": {"node": down("two", **at(zone="z2"))}})
    assert read(api)["Topologies"] == [{"zone": "z2"}]


def test_another_rejection_has_another_digest(api: Api, agent: FakeAgent) -> None:
    digests = set()
    for wrong in ({"Provider": 5}, {"ProviderVersion": 5}):
        for _ in range(2):
            answer = agent.report({"ebs0": {"node": up(**wrong)}})
            assert answer.json["Rejected"], "it is reported again"
            assert agent.beat().status == 200
            digests.add(agent.digest)
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("host", "origin", "is_allowed"),
    [
        ("rebound.example:4646", "", True),
        ("localhost:4646", "http://localhost:4646", True),
        ("127.0.0.1:4646", "http://127.0.0.1:4646", True),
        ("rebound.example:4646", "http://rebound.example:4646", False),
        ("127.0.0.1:4646", "http://203.0.113.1", False),
        ("127.0.0.1:4646", "null", False),
    ],
)
def test_without_acls_no_page_of_another_host_may_write(
    api: Api, agent: FakeAgent, host: str, origin: str, is_allowed: bool
) -> None:
    """Refuse other hosts, because any site can make its name resolve to an address behind a
    firewall."""
    agent.report({"ebs0": {"node": down()}})
    headers = {"Host": host, **({"Origin": origin} if origin else {})}
    assert api.call("GET", "/v1/plugins?type=csi", headers=headers).status == 200
    answer = api.call("DELETE", f"/v1/node/{agent.node_id}", headers=headers)
    assert answer.status == (200 if is_allowed else 403)
    assert is_allowed is not bool(api.call("GET", "/v1/nodes").json)
