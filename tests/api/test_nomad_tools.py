"""The endpoints that Nomad's tools use in addition to plugins and nodes, and other paths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.gate import MANAGEMENT, Gate, gate
from tests.support import Answer, Api, FakeAgent, serving, up


@pytest.fixture
def made(tmp_path: Path) -> Gate:
    return gate(tmp_path, "csi-list", "node-read", "of no policy", "denied read")


@pytest.fixture(params=["in-process", "live"])
def guarded(request: pytest.FixtureRequest, tmp_path: Path, made: Gate) -> Iterator[Api]:
    with serving(tmp_path, live=request.param == "live", config=made.config) as served:
        yield served


def ask(api: Api, made: Gate, name: str, path: str) -> Answer:
    return api.call("GET", path, headers=made.headers(name))


def test_tokens_are_ones_own_and_all_for_management(guarded: Api, made: Gate) -> None:
    all_ = ask(guarded, made, MANAGEMENT, "/v1/acl/tokens").json
    assert [row["AccessorID"] for row in all_] == sorted(made.accessors.values())
    (own,) = ask(guarded, made, "csi-list", "/v1/acl/tokens").json
    assert own in all_
    assert (own["AccessorID"], own["Name"]) == (made.accessors["csi-list"], "csi-list")
    assert (own["Type"], own["Policies"], own["Global"]) == ("client", ["csi-list"], False)
    prefix = f"/v1/acl/tokens?prefix={own['AccessorID'][:8]}"
    assert ask(guarded, made, MANAGEMENT, prefix).json == [own]
    manage = '/v1/acl/tokens?filter=Type+==+"management"+and+Name+==+"management"'
    assert [row["Name"] for row in ask(guarded, made, MANAGEMENT, manage).json] == [MANAGEMENT]


def test_a_token_is_read_by_its_accessor(guarded: Api, made: Gate) -> None:
    for name in ("csi-list", MANAGEMENT):
        path = f"/v1/acl/token/{made.accessors[name]}"
        by_itself, by_manager = (ask(guarded, made, each, path) for each in (name, MANAGEMENT))
        assert by_itself.json == by_manager.json
        own = ask(guarded, made, name, "/v1/acl/token/self").json
        assert own == {**by_itself.json, "SecretID": made.secrets[name]}
    other = f"/v1/acl/token/{made.accessors['node-read']}"
    assert ask(guarded, made, "csi-list", other).status == 403
    for nothing in ("/v1/acl/token/none", "/v1/acl/token/anonymous"):
        missing = ask(guarded, made, MANAGEMENT, nothing)
        assert (missing.status, missing.text) == (404, "ACL token not found")
        assert guarded.call("GET", nothing).status == 403


def test_only_its_holder_is_answered_a_secret(guarded: Api, made: Gate) -> None:
    for name in ("csi-list", "node-read", MANAGEMENT):
        for accessor in made.accessors.values():
            answer = ask(guarded, made, name, f"/v1/acl/token/{accessor}")
            assert answer.status == 403 or answer.json["SecretID"] == ""
            assert answer.headers["cache-control"] in ("no-store", "private, no-cache")
        listed = ask(guarded, made, name, "/v1/acl/tokens")
        assert not any(secret and secret in listed.text for secret in made.secrets.values())
        assert listed.headers["cache-control"] == "no-store"


def test_the_policies_of_the_caller(guarded: Api, made: Gate) -> None:
    def names(name: str) -> list[str]:
        return [row["Name"] for row in ask(guarded, made, name, "/v1/acl/policy/self").json]

    assert names("denied read") == ["namespace-read", "plugin-deny"]
    assert names("of no policy") == names(MANAGEMENT) == []
    assert guarded.call("GET", "/v1/acl/policy/self").status == 403


def test_there_is_one_namespace(guarded: Api, made: Gate) -> None:
    (row,) = ask(guarded, made, "csi-list", "/v1/namespaces").json
    assert ask(guarded, made, "csi-list", "/v1/namespace/default").json == row
    for name in ("apps", "default2", "*"):
        missing = ask(guarded, made, "csi-list", f"/v1/namespace/{name}")
        assert (missing.status, missing.text) == (404, "Namespace not found")
        assert ask(guarded, made, "node-read", f"/v1/namespace/{name}").status == 403


def test_node_pools_are_those_that_nomad_always_has(guarded: Api, made: Gate) -> None:
    rows = ask(guarded, made, "node-read", "/v1/node/pools").json
    assert [row["Name"] for row in rows] == ["all", "default"]
    assert all({"Description", "Meta", "CreateIndex", "ModifyIndex"} <= row.keys() for row in rows)


def fuzzy(api: Api, text: str, context: str = "all", **more: Any) -> Answer:
    return api.call("PUT", "/v1/search/fuzzy", {"Text": text, "Context": context, **more})


def test_fuzzy_search_finds_names_by_any_part_of_them(api: Api) -> None:
    agent = FakeAgent(api, name="Storage-1")
    plugins = {id_: {"node": up()} for id_ in ("aws-ebs0", "ebs", "ebs-long", "nfs")}
    agent.report(plugins)
    found = fuzzy(api, "EBS").json
    assert found["Matches"]["plugins"] == [
        {"ID": id_, "Scope": None} for id_ in ("ebs", "ebs-long", "aws-ebs0")
    ]
    assert found["Matches"]["nodes"] == found["Matches"]["allocs"] == []
    assert found["Truncations"] == dict.fromkeys(("plugins", "nodes", "allocs"), False)
    assert found["Index"] == api.services.catalogue.index
    nodes = fuzzy(api, "age", "nodes", Namespace="*", Unknown=1).json["Matches"]
    assert nodes == {"nodes": [{"ID": "Storage-1", "Scope": [agent.node_id]}]}
    assert fuzzy(api, "ebs", "jobs").json["Matches"] == {}


def test_fuzzy_search_says_when_there_is_more(api: Api, agent: FakeAgent) -> None:
    agent.report({f"ebs{number}": {"node": up()} for number in range(21)})
    found = fuzzy(api, "ebs", "plugins").json
    assert (len(found["Matches"]["plugins"]), found["Truncations"]) == (20, {"plugins": True})
    assert fuzzy(api, "ebs2", "plugins").json["Truncations"] == {"plugins": False}


@pytest.mark.parametrize(
    "body", [{}, {"Text": "e"}, {"Text": ""}, {"Text": 7}, {"Text": "x" * 129}, [], "x"]
)
def test_fuzzy_search_names_what_is_wrong(asked: Api, body: Any) -> None:
    answer = asked.call("POST", "/v1/search/fuzzy", body)
    assert (answer.status, len(answer.text.splitlines())) == (400, 1)
    assert answer.text.startswith("Text: ") or not isinstance(body, dict)


@pytest.mark.parametrize(
    "path",
    ["/v1/nothing", "/v1/", "/v1", "/v1/plugin/csi/a/b", "/uix/", "/v1/jobs", "//v1/plugins"],
)
def test_an_unknown_path_is_one_line_of_text(asked: Api, path: str) -> None:
    answer = asked.call("GET", path)
    if path.startswith("//") and answer.status == 200:
        return  # Flask's own client takes slashes away, a server does not
    assert (answer.status, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8")
    assert "/v1/openapi.json" in answer.text
    assert len(answer.text.splitlines()) == 1
    head = asked.call("HEAD", path)
    assert (head.status, head.body) == (404, b"")
    assert head.headers["content-type"] == answer.headers["content-type"]


def test_the_root_says_where_to_go(guarded: Api) -> None:
    answer = guarded.call("GET", "/")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert "/v1/openapi.json" in answer.text
    assert len(answer.text.splitlines()) == 1
    head = guarded.call("HEAD", "/?x=y")
    assert (head.status, head.body) == (200, b"")
    refused = guarded.call("POST", "/")
    assert (refused.status, refused.text) == (405, "Invalid method")


ADDRESSES = {
    "": ("", ""),
    "10.0.0.7": ("10.0.0.7", "10.0.0.7:4646"),
    "10.0.0.7:5646": ("10.0.0.7", "10.0.0.7:5646"),
    "[2001:db8::7]:5646": ("2001:db8::7", "[2001:db8::7]:5646"),
    "2001:db8::7": ("2001:db8::7", "[2001:db8::7]:4646"),
    "vm1.internal": ("vm1.internal", "vm1.internal:4646"),
    "no address": ("no address", ""),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_nodes_address_is_its_agents(api: Api, agent: FakeAgent, address: str) -> None:
    agent.report({}, Address=address)
    (stub,) = api.call("GET", "/v1/nodes").json
    node = api.call("GET", f"/v1/node/{agent.node_id}").json
    host, http = ADDRESSES[address]
    assert stub["Address"] == node["Address"] == host
    assert node["HTTPAddr"] == http


def test_a_nodes_class_and_meta(api: Api, agent: FakeAgent) -> None:
    agent.report({}, NodeClass="storage", Meta={"rack": "r7"}, Attributes={"os.name": "debian"})
    (stub,) = api.call("GET", "/v1/nodes").json
    node = api.call("GET", f"/v1/node/{agent.node_id}").json
    assert stub["NodeClass"] == node["NodeClass"] == "storage"
    assert node["Meta"] == {"rack": "r7"}
    assert node["Attributes"] == {"node.class": "storage", "os.name": "debian"}
    before = node["ModifyIndex"]
    agent.report({}, NodeClass="storage", Meta={"rack": "r7"}, Attributes={"os.name": "debian"})
    assert api.call("GET", f"/v1/node/{agent.node_id}").index == before
    agent.report({}, Attributes={"os.name": "debian"})
    assert api.call("GET", f"/v1/node/{agent.node_id}").json["NodeClass"] == ""


def test_a_nodes_class_and_meta_outlive_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        agent.report({}, NodeClass="storage", Meta={"rack": "r7"}, Address="10.0.0.7:5646")
        before = api.call("GET", f"/v1/node/{agent.node_id}").body
    with serving(tmp_path, live=False) as api:
        assert api.call("GET", f"/v1/node/{agent.node_id}").body == before


MANY = {f"k{number}": "x" for number in range(129)}


def labels(number: int, size: int = 0) -> dict[str, str]:
    """Return that many entries, each with a name of at least two bytes and a text of ``size``."""
    return {f"k{at}": "x" * size for at in range(number)}


@pytest.mark.parametrize(
    "more",
    [
        {"Attributes": labels(256)},
        {"Attributes": labels(128), "Meta": labels(128)},
        {"Attributes": labels(8, 4_094), "Meta": labels(8, 4_094)},
    ],
)
def test_values_at_their_limits_are_taken(api: Api, agent: FakeAgent, more: dict[str, Any]) -> None:
    assert agent.report({}, **more).status == 200
    node = api.call("GET", f"/v1/node/{agent.node_id}").json
    assert {"Attributes": {}, "Meta": {}, **more}.items() <= node.items()


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"Meta": MANY}, "Meta: must have at most 128 entries."),
        ({"Meta": {"x" * 129: "y"}}, f"Meta.{'x' * 64}: must have at most 128 characters."),
        ({"Meta": {"rack": "x" * 4097}}, "Meta.rack: must have at most 4096 characters."),
        ({"Meta": {"rack": 7}}, "Meta.rack: must be a string."),
        ({"Meta": []}, "Meta: Not a valid mapping type."),
        ({"Attributes": {f"k{number}": "" for number in range(513)}}, "Attributes: must have at"),
        ({"Attributes": labels(257)}, "Attributes: must have at most 256 entries."),
        (
            {"Attributes": labels(129), "Meta": labels(128)},
            "Attributes and Meta: must have at most 256 entries together.",
        ),
        (
            {"Attributes": labels(8, 4_094), "Meta": labels(8, 4_095)},
            "Attributes and Meta: must have at most 65,536 bytes together.",
        ),
        (
            {"Attributes": {f"k{number}": "ä" * 4_096 for number in range(8)}},
            "Attributes and Meta: must have at most 65,536 bytes together.",
        ),
        ({"NodeClass": "x" * 129}, "NodeClass: must have at most 128 characters."),
        ({"Address": "x" * 261}, "Address: must have at most 260 characters."),
    ],
)
def test_the_facts_of_a_node_are_bounded(
    api: Api, agent: FakeAgent, more: dict[str, Any], place: str
) -> None:
    agent.report({}, Meta={"rack": "r7"})
    answer = agent.report({}, **more)
    assert answer.status == 400
    assert answer.text.startswith(place), answer.text
    assert api.call("GET", f"/v1/node/{agent.node_id}").json["Meta"] == {"rack": "r7"}


NODE_KEYS = {
    "/v1/nodes": "Address CreateIndex Datacenter Drain Drivers HostVolumes ID LastDrain "
    "ModifyIndex Name NodeClass NodePool SchedulingEligibility Status StatusDescription Version",
    "/v1/node/": "Attributes CSIControllerPlugins CSINodePlugins ComputedClass CreateIndex "
    "Datacenter Drain DrainStrategy Drivers Events HTTPAddr HostVolumes ID LastDrain Links Meta "
    "ModifyIndex Name NodeClass NodePool NodeResources Reserved ReservedResources Resources "
    "SchedulingEligibility Status StatusDescription StatusUpdatedAt TLSEnabled",
}
"""The fields that Nomad's tools decode, from version 0.11 on."""


def test_nodes_have_every_key_that_nomads_tools_decode(api: Api, agent: FakeAgent) -> None:
    agent.report({})
    (stub,) = api.call("GET", "/v1/nodes").json
    node = api.call("GET", f"/v1/node/{agent.node_id}").json
    assert set(NODE_KEYS["/v1/nodes"].split()) <= stub.keys()
    assert set(NODE_KEYS["/v1/node/"].split()) <= node.keys()
    for key in ("Resources", "Reserved"):
        assert {each: node[key][each] for each in ("CPU", "MemoryMB", "DiskMB")} == dict.fromkeys(
            ("CPU", "MemoryMB", "DiskMB"), 0
        )
    for key in ("NodeResources", "ReservedResources"):
        assert node[key]["Cpu"]["CpuShares"] == node[key]["Memory"]["MemoryMB"] == 0
        assert node[key]["Disk"]["DiskMB"] == 0
    assert (node["NodePool"], node["LastDrain"]) == ("default", None)
    assert isinstance(node["StatusUpdatedAt"], int)
