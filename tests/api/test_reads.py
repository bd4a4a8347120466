"""List and read: the shapes and every case of the first table of the wire format."""

from __future__ import annotations

import json

import pytest

from tests.promises import PATIENCE
from tests.support import Api, FakeAgent, down, up

LIST = "/v1/plugins?type=csi"


def test_an_empty_list_is_at_index_one(api: Api) -> None:
    answer = api.call("GET", LIST)
    assert (answer.status, answer.body, answer.index) == (200, b"[]", 1)


def test_rows_have_nine_sorted_keys_and_no_spaces(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": up(Provider="ebs.example")}, "a": {"controller": up()}})
    answer = api.call("GET", LIST)
    at = agent.index
    assert answer.text == (
        '[{"ControllerRequired":false,"ControllersExpected":1,"ControllersHealthy":1,'
        f'"CreateIndex":{at},"ID":"a","ModifyIndex":{at},"NodesExpected":0,"NodesHealthy":0,'
        '"Provider":""},{"ControllerRequired":false,"ControllersExpected":0,'
        f'"ControllersHealthy":0,"CreateIndex":{at},"ID":"ebs0","ModifyIndex":{at},'
        '"NodesExpected":1,"NodesHealthy":1,"Provider":"ebs.example"}]'
    )
    assert answer.headers["content-type"] == "application/json"


def test_the_read_of_one_plugin(api: Api, agent: FakeAgent) -> None:
    topology = {"Segments": {"zone": "a"}}
    agent.report(
        {
            "ebs0": {
                "controller": up(
                    Provider="ebs.example",
                    ProviderVersion="1.2",
                    RequiresControllerPlugin=True,
                    ControllerInfo={"SupportsAttachDetach": True},
                ),
                "node": down(
                    "disk on fire",
                    UpdateTime="2026-01-31T23:00:00.5Z",
                    NodeInfo={"ID": "i-1", "AccessibleTopology": topology},
                ),
            }
        }
    )
    answer = api.call("GET", "/v1/plugin/csi/ebs0")
    body = answer.json
    assert list(body) == sorted(body), "keys are sorted"
    assert body["ID"] == "ebs0"
    assert (body["Provider"], body["Version"]) == ("ebs.example", "1.2")
    assert body["ControllerRequired"] is body["ControllersRequired"] is True
    assert (body["ControllersHealthy"], body["ControllersExpected"]) == (1, 1)
    assert (body["NodesHealthy"], body["NodesExpected"]) == (0, 1)
    assert body["Topologies"] == [{"zone": "a"}]
    assert body["Allocations"] == []
    assert body["CreateIndex"] == body["ModifyIndex"] == answer.index == agent.index
    assert body["CreateTime"] == body["ModifyTime"] > 1_700_000_000 * 10**9
    controller = body["Controllers"][agent.node_id]
    assert controller["PluginID"] == "ebs0"
    assert controller["HealthDescription"] == "healthy"
    assert controller["ControllerInfo"]["SupportsAttachDetach"] is True
    assert controller["ControllerInfo"]["SupportsListVolumes"] is False
    node = body["Nodes"][agent.node_id]
    assert (node["Healthy"], node["HealthDescription"]) == (False, "disk on fire")
    assert node["UpdateTime"] == "2026-01-31T23:00:00.5Z"
    assert node["NodeInfo"]["AccessibleTopology"] == topology


def test_index_headers_stand_on_every_read(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": up()}})
    for path, status in (
        (LIST, 200),
        ("/v1/plugins", 200),
        ("/v1/plugin/csi/ebs0", 200),
        ("/v1/plugin/csi/none", 404),
        ("/v1/nodes", 200),
        (f"/v1/node/{agent.node_id}", 200),
        ("/v1/node/11111111-2222-3333-4444-555555555555", 404),
    ):
        answer = api.call("GET", path)
        assert answer.status == status, path
        assert answer.index == agent.index, path
        assert answer.headers["x-nomad-knownleader"] == "true"
        contact = int(answer.headers["x-nomad-lastcontact"])
        # A default read has just contacted etcd; a database in a file is always reachable.
        assert contact == 0 or (api.services.store.has_other_servers and contact < PATIENCE * 1000)
        assert answer.headers["vary"] == "Accept-Encoding"


def test_head_is_get_without_a_body(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": up()}})
    for path in (LIST, "/v1/plugin/csi/ebs0"):
        get, head = api.call("GET", path), api.call("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == get.headers["content-length"]
        assert head.index == get.index


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods(asked: Api, method: str) -> None:
    for path, allow in (("/v1/plugins", "GET, HEAD"), ("/v1/plugin/csi/x", "DELETE, GET, HEAD")):
        if method in allow:
            continue
        answer = asked.call(method, path)
        assert (answer.status, answer.text) == (405, "Invalid method")
        assert answer.headers["allow"] == allow


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("index=x", "Invalid index"),
        ("index=-1", "Invalid index"),
        ("index=1.0", "Invalid index"),
        ("index=%2B1", "Invalid index"),
        ("index=1_0", "Invalid index"),
        ("index=%D9%A3", "Invalid index"),
        ("index=18446744073709551616", "Invalid index"),
        ("wait=abc", "Invalid wait time"),
        ("wait=5", "Invalid wait time"),
        ("wait=1h!!2m", "Invalid wait time"),
        ("stale=maybe", "Invalid stale: it is true or false"),
        ("per_page=x", "Invalid per_page: it is a whole number"),
        ("reverse=2", "Invalid reverse: it is true or false"),
        ("region=other", "No path to region"),
    ],
)
def test_malformed_parameters(asked: Api, query: str, expected: str) -> None:
    for path in (
        f"/v1/plugins?type=csi&{query}",
        f"/v1/plugin/csi/x?{query}",
        f"/v1/nodes?{query}",
    ):
        answer = asked.call("GET", path)
        assert (answer.status, answer.text) == (400, expected)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_mistakes_are_reported_in_the_order_of_the_table(api: Api) -> None:
    query = "region=other&reverse=2&stale=maybe&wait=5&index=x"
    mistakes = []
    while query:
        mistakes.append(api.call("GET", f"/v1/plugins?type=nope&{query}").text.split(":")[0])
        query = query.rpartition("&")[0]
    assert mistakes == [
        "Invalid index",
        "Invalid wait time",
        "Invalid stale",
        "Invalid reverse",
        "No path to region",
    ]


@pytest.mark.parametrize(
    "query", ["index=", "index=0", "wait=", "wait=-5s", "wait=0", "stale", "region=global", "x=y"]
)
def test_parameters_that_are_fine(asked: Api, query: str) -> None:
    assert asked.call("GET", f"{LIST}&{query}").status == 200


@pytest.mark.parametrize("path", ["/v1/plugins", "/v1/plugins?type=", "/v1/plugins?type=&type=csi"])
def test_no_type_is_an_empty_list(api: Api, agent: FakeAgent, path: str) -> None:
    agent.report({"ebs0": {"node": up()}})
    answer = api.call("GET", path)
    assert (answer.status, answer.body) == (200, b"[]")


def test_an_unknown_type_names_those_there_are(api: Api) -> None:
    answer = api.call("GET", "/v1/plugins?type=nope")
    assert answer.status == 400
    assert "csi" in answer.text
    assert api.call("GET", "/v1/plugin/nope/x").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1/plugin/csi/a/b",
        "/v1/plugin/csi/a/b/c",
        "/v1/plugin/csi/",
        "/v1/plugin/csi",
        "/v1/plugin/",
        "/v1/plugin",
        "//v1/plugins",
        "/v1//plugins?type=csi",
        "/v1/plugin/csi//a",
        "/v1/plugin/csi/a%2Fb",
        "/v1/plugins/",
        "/v1/nothing",
        "/nothing",
    ],
)
def test_an_exact_path_or_nothing(api: Api, agent: FakeAgent, path: str) -> None:
    agent.report({"a": {"node": up()}})
    answer = api.call("GET", path)
    assert answer.status == 404
    assert b"<" not in answer.body


def test_a_missing_plugin(api: Api) -> None:
    answer = api.call("GET", "/v1/plugin/csi/none")
    assert (answer.status, answer.text, answer.index) == (404, "plugin not found", 1)


def test_strings_are_utf8(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": down("Platte brennt: 火")}})
    assert "Platte brennt: 火".encode() in api.call("GET", "/v1/plugin/csi/ebs0").body


def test_nodes(api: Api, agent: FakeAgent) -> None:
    agent.report(
        {"ebs0": {"node": up(), "controller": down()}},
        Datacenter="dc9",
        Address="10.0.0.1",
        Version="1.0",
        Attributes={"os.name": "debian"},
        Meta={"rack": "7"},
    )
    (stub,) = api.call("GET", "/v1/nodes").json
    assert stub["ID"] == agent.node_id
    assert (stub["Name"], stub["Datacenter"], stub["Status"]) == ("vm1", "dc9", "ready")
    body = api.call("GET", f"/v1/node/{agent.node_id}").json
    assert body["Attributes"] == {"os.name": "debian"}
    assert body["Meta"] == {"rack": "7"}
    assert body["CSINodePlugins"]["ebs0"]["Healthy"] is True
    assert body["CSIControllerPlugins"]["ebs0"]["Healthy"] is False
    assert "SecretID" not in body
    assert body["Resources"]["CPU"] == body["Reserved"]["CPU"] == 0
    assert set(stub) <= set(body)


def test_health_and_leader(api: Api) -> None:
    assert api.call("GET", "/v1/agent/health").json == {"server": {"ok": True, "message": "ok"}}
    assert api.call("GET", "/v1/agent/health?type=client").status == 500
    host, _, port = api.call("GET", "/v1/status/leader").json.partition(":")
    assert (host, port.isdigit()) == ("127.0.0.1", True)


def test_plugin_types(api: Api) -> None:
    rows = {row["Name"]: row for row in api.call("GET", "/v1/plugin-types").json}
    assert rows["csi"]["Roles"] == {"controller": "Controllers", "node": "Nodes"}
    assert rows["csi"]["Distribution"] == "plugind"


def test_a_thousand_rows_come_sorted(api: Api, agent: FakeAgent) -> None:
    ids = [f"p{number}" for number in range(1000)]
    agent.report({id_: {"node": up()} for id_ in reversed(ids)})
    rows = json.loads(api.call("GET", LIST).body)
    assert [row["ID"] for row in rows] == sorted(ids)
