"""The endpoints that Nomad's tools use in addition to plugins and nodes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.promises import PATIENCE
from tests.support import Answer, Api, FakeAgent, eventually, follows, serving, up
from tests.wire.recorded_server import MANAGEMENT, SECRETS, acl

READERS, LISTERS = "<client token of policy readers>", "<client token of policy listers>"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Api]:
    """Serve with ACLs, so requests need tokens."""
    with serving(tmp_path, live=False, config=acl(tmp_path)) as served:
        yield served


def get(api: Api, holder: str, path: str) -> Answer:
    return api.call("GET", path, headers={"X-Nomad-Token": SECRETS[holder]} if holder else {})


def search(api: Api, body: Any, holder: str = "") -> Answer:
    headers = {"X-Nomad-Token": SECRETS[holder]} if holder else {}
    return api.call("PUT", "/v1/search", body, headers)


def test_a_search_shows_twenty_and_whether_more_exist(api: Api, agent: FakeAgent) -> None:
    agent.report({f"p{number:02}": {"node": up()} for number in range(21)})
    answer = search(api, {"Prefix": "p", "Context": "plugins", "Namespace": "x"})
    assert answer.json["Matches"]["plugins"] == [f"p{number:02}" for number in range(20)]
    assert answer.json["Truncations"] == {"plugins": True}
    assert answer.json["Index"] == answer.index == agent.index
    answer = search(api, {"Prefix": "p0", "Context": "plugins"})
    assert len(answer.json["Matches"]["plugins"]) == 10
    assert answer.json["Truncations"] == {"plugins": False}


@pytest.mark.parametrize(
    ("context", "matches"),
    [("jobs", {"jobs": None}), ("nodes", {"nodes": []}), ("nothing", {}), ("", {})],
)
def test_contexts_without_objects(asked: Api, context: str, matches: Any) -> None:
    assert search(asked, {"Prefix": "x", "Context": context}).json["Matches"] == matches


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ([], "the body must be a JSON object"),
        ({"Prefix": 1}, "Prefix: must be a string."),
        ({"Context": "x" * 129}, "Context: must have at most 128 characters."),
    ],
)
def test_mistakes_in_a_search(asked: Api, body: Any, expected: str) -> None:
    answer = search(asked, body)
    assert (answer.status, answer.text) == (400, expected)


def test_a_search_finds_what_its_token_may_list(guarded: Api) -> None:
    agent = FakeAgent(guarded, token=SECRETS[MANAGEMENT])
    agent.report({"ebs0": {"node": up()}})
    everything = {"Prefix": "", "Context": "all"}
    assert search(guarded, everything, MANAGEMENT).json["Matches"]["nodes"] == [agent.node_id]
    matches = search(guarded, everything, LISTERS).json["Matches"]
    assert matches["plugins"] == ["ebs0"]
    assert "nodes" not in matches
    assert search(guarded, {"Context": "nodes"}, LISTERS).status == 403
    assert search(guarded, everything).status == 403


def test_without_acls_there_are_none_to_read(api: Api) -> None:
    for path in ("/v1/acl/policies", "/v1/acl/policy/x", "/v1/acl/token/self"):
        answer = api.call("GET", path, headers={"X-Nomad-Token": "x"})
        assert (answer.status, answer.text) == (400, "ACL support disabled")


def test_a_token_reads_its_own_policies_only(guarded: Api) -> None:
    assert [row["Name"] for row in get(guarded, READERS, "/v1/acl/policies").json] == ["readers"]
    assert get(guarded, READERS, "/v1/acl/policy/readers").status == 200
    for holder in (READERS, ""):
        assert get(guarded, holder, "/v1/acl/policy/listers").status == 403
        assert get(guarded, holder, "/v1/acl/policy/nobody").status == 403
    missing = get(guarded, MANAGEMENT, "/v1/acl/policy/nobody")
    assert (missing.status, missing.text) == (404, "ACL policy not found")


def test_lists_that_never_change_heed_what_lists_heed(guarded: Api) -> None:
    path = "/v1/acl/policies"

    def names(query: str) -> list[str]:
        return [row["Name"] for row in get(guarded, MANAGEMENT, f"{path}?{query}").json]

    everything = names("")
    assert len(everything) > 1
    assert names("reverse") == everything[::-1]
    assert names("prefix=read") == names('filter=Name+==+"readers"') == ["readers"]
    page = get(guarded, MANAGEMENT, f"{path}?per_page=1")
    assert page.headers["x-nomad-nexttoken"] == everything[1]
    assert get(guarded, MANAGEMENT, f"{path}?filter=((").status == 400
    assert get(guarded, MANAGEMENT, "/v1/namespaces?prefix=x").json == []
    assert get(guarded, MANAGEMENT, "/v1/namespaces?filter=Name+matches+1").status == 200


def test_rules_as_nomad_parses_them(guarded: Api) -> None:
    rules = get(guarded, MANAGEMENT, "/v1/acl/policy/listers").json["RulesJSON"]
    capabilities = ["csi-list-plugin"]
    assert rules["Namespaces"] == [{"Name": "default", "Policy": "", "Capabilities": capabilities}]
    assert rules["Plugin"] is rules["HostVolumes"] is None


def test_an_answer_that_depends_on_the_caller_is_not_kept(guarded: Api) -> None:
    for path in ("/v1/acl/policies", "/v1/acl/token/self", "/v1/namespaces"):
        headers = get(guarded, READERS, path).headers
        assert "etag" not in headers
        assert headers["cache-control"] == "no-store"
    for path in ("/v1/agent/self", "/v1/agent/members", "/v1/plugin/csi/none", "/v1/nothing"):
        answer = get(guarded, MANAGEMENT, path)
        assert answer.headers["cache-control"] == "private, no-cache", "not even a missing one"
    assert "etag" in get(guarded, READERS, "/v1/plugins?type=csi").headers


def test_a_query_of_a_resource_that_never_changes_waits(guarded: Api) -> None:
    """Make such a query wait, or its client would repeat it endlessly."""
    agent = FakeAgent(guarded, token=SECRETS[MANAGEMENT])
    got: list[Answer] = []
    path = "/v1/acl/policies?index=1&wait=5m"
    waiting = threading.Thread(target=lambda: got.append(get(guarded, READERS, path)))
    waiting.start()
    eventually(lambda: guarded.services.catalogue.parked)
    assert agent.report({"ebs0": {"node": up()}}).status == 200
    assert guarded.services.catalogue.parked
    guarded.services.wake()
    waiting.join(PATIENCE)
    assert got[0].status == 200


def test_the_namespace_is_shown_to_those_who_may_do_something_in_it(guarded: Api) -> None:
    for holder, shown in ((MANAGEMENT, ["default"]), (READERS, ["default"]), ("", [])):
        rows = get(guarded, holder, "/v1/namespaces").json
        assert [row["Name"] for row in rows] == shown


@pytest.mark.parametrize(
    ("query", "added"),
    [
        ("os=true", {"Attributes"}),
        ("resources=true", {"NodeResources", "ReservedResources"}),
        ("os&resources=1", {"Attributes", "NodeResources", "ReservedResources"}),
        ("os=false&resources=0", set()),
    ],
)
def test_more_of_each_node(api: Api, agent: FakeAgent, query: str, added: set[str]) -> None:
    agent.report({}, Attributes={"os.name": "debian", "cpu.arch": "amd64"})
    (stub,) = api.call("GET", "/v1/nodes").json
    for name in ("debian", "alpine"):  # and after a change
        agent.report({}, Attributes={"os.name": name, "cpu.arch": "amd64"})
        (row,) = api.call("GET", f"/v1/nodes?{query}").json
        assert row.keys() - stub.keys() == added
        assert row.get("Attributes", {"os.name": name}) == {"os.name": name}


def test_filters_know_what_may_be_added(api: Api, agent: FakeAgent) -> None:
    agent.report({}, Attributes={"os.name": "debian"})
    where = "filter=%22/Attributes/os.name%22+==+debian"
    for query in ("os&", ""):
        assert len(api.call("GET", f"/v1/nodes?{query}{where}").json) == 1


@pytest.mark.parametrize("name", ["os", "resources"])
def test_malformed_flags(asked: Api, name: str) -> None:
    answer = asked.call("GET", f"/v1/nodes?{name}=maybe")
    assert (answer.status, answer.text) == (400, f"Invalid {name}: it is true or false")


def test_a_prefix_of_a_node_may_have_any_length(api: Api, agent: FakeAgent) -> None:
    agent.report({})
    for length in (1, 7, 9, 36):
        rows = api.call("GET", f"/v1/nodes?prefix={agent.node_id[:length]}").json
        assert [row["ID"] for row in rows] == [agent.node_id]
    assert api.call("GET", "/v1/nodes?prefix=zz").json == []


def test_allocations_of_a_node(api: Api, agent: FakeAgent) -> None:
    path = f"/v1/node/{agent.node_id}/allocations"
    missing = api.call("GET", path)
    assert (missing.status, missing.body) == (200, b"[]")
    assert missing.index == api.call("GET", "/v1/nodes").index
    agent.report({})
    there = api.call("GET", f"{path}?index={missing.index}&wait=5m")
    assert (there.status, there.body, there.index) == (200, b"[]", agent.index)
    assert follows(api, there.index, missing.index)


def test_the_one_server(api: Api) -> None:
    leader = api.call("GET", "/v1/status/leader").json
    assert api.call("GET", "/v1/status/peers").json == [leader]
    assert api.call("GET", "/v1/agent/servers").json == [leader]
    assert api.call("GET", "/v1/regions").json == ["global"]
    members = api.call("GET", "/v1/agent/members?region=global").json
    (member,) = members["Members"]
    assert f"{member['Addr']}:{member['Port']}" == leader
    assert member["Name"] == f"{members['ServerName']}.global"
    assert all(isinstance(tag, str) for tag in member["Tags"].values())


def test_the_agent_itself(api: Api) -> None:
    answer = api.call("GET", "/v1/agent/self").json
    assert answer["config"]["Server"]["NodeGCThreshold"] == "24h0m0s"
    assert answer["config"]["ACL"] == {"Enabled": False}
    assert answer["stats"]["nomad"]["leader_addr"] == api.call("GET", "/v1/status/leader").json
    values = [value for section in answer["stats"].values() for value in section.values()]
    assert all(isinstance(value, str) for value in values)


def test_no_secret_stands_in_the_agents_settings(guarded: Api) -> None:
    answer = get(guarded, MANAGEMENT, "/v1/agent/self")
    assert not any(secret in answer.text for secret in SECRETS.values())
    assert get(guarded, READERS, "/v1/agent/self").status == 403
    for path in ("/v1/agent/members", "/v1/agent/servers"):
        assert get(guarded, READERS, path).status == 403
