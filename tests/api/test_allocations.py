"""The processes behind instances, which Nomad's tools see as allocations."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.promises import PATIENCE
from tests.support import Answer, Api, FakeAgent, down, eventually, follows, serving, up

ONE = "5dd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac001"
TWO = "6dd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac002"
NFS: Mapping[str, Any] = {
    "Name": "csi-nfs.service.nfsplugin[7]",
    "JobID": "csi-nfs.service",
    "TaskGroup": "nfsplugin",
    "CreateTime": 1_700_000_000_000_000_007,
}


def stubs(api: Api, plugin: str = "nfs") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.call("GET", f"/v1/plugin/csi/{plugin}").json["Allocations"]
    return found


def of_node(api: Api, agent: FakeAgent) -> Answer:
    return api.call("GET", f"/v1/node/{agent.node_id}/allocations")


def status(api: Api) -> str:
    (stub,) = stubs(api)
    text: str = stub["ClientStatus"]
    return text


def index(api: Api, agent: FakeAgent) -> tuple[int, int]:
    node = api.call("GET", f"/v1/node/{agent.node_id}")
    return api.call("GET", "/v1/plugin/csi/nfs").index, node.index


def test_one_process_is_one_allocation_of_its_plugin_and_its_node(
    api: Api, agent: FakeAgent
) -> None:
    both = {
        "controller": up(AllocID=ONE),
        "node": up(AllocID=ONE, UpdateTime="2026-01-31T23:00:00Z"),
    }
    assert agent.report({"nfs": both}, Allocations={ONE: NFS}).json["Rejected"] == []
    (stub,) = stubs(api)
    assert stub.items() >= NFS.items()
    assert stub["ID"] == ONE
    assert (stub["NodeID"], stub["NodeName"]) == (agent.node_id, agent.name)
    assert (stub["ClientStatus"], stub["DesiredStatus"]) == ("running", "run")
    assert stub["JobVersion"] == 0
    (whole,) = of_node(api, agent).json
    shared = stub.keys() & whole.keys()
    assert {key: stub[key] for key in shared} == {key: whole[key] for key in shared}
    assert shared >= NFS.keys()
    assert (whole["Job"]["ID"], whole["Job"]["Version"]) == (NFS["JobID"], 0)
    assert [each["Name"] for each in whole["Job"]["TaskGroups"]] == [whole["TaskGroup"]]
    assert whole["Resources"].items() >= {"CPU": 0, "MemoryMB": 0, "DiskMB": 0}.items()


def test_without_a_process_there_is_none(api: Api, agent: FakeAgent) -> None:
    agent.report({"nfs": {"node": up(AllocID=ONE)}, "ebs0": {"node": up()}}, Allocations={TWO: NFS})
    assert stubs(api) == stubs(api, "ebs0") == of_node(api, agent).json == []
    nodes = api.call("GET", "/v1/plugin/csi/ebs0").json["Nodes"]
    assert nodes[agent.node_id]["AllocID"] == ""


def test_another_process_is_news_of_its_plugin_and_its_node(api: Api, agent: FakeAgent) -> None:
    report = {"nfs": {"node": up(AllocID=ONE)}, "ebs0": {"node": up()}}
    agent.report(report, Allocations={ONE: NFS})
    before = index(api, agent)
    other = api.call("GET", "/v1/plugin/csi/ebs0").index
    agent.report({**report, "nfs": {"node": up(AllocID=TWO)}}, Allocations={TWO: NFS})
    now = index(api, agent)
    assert now[0] == now[1] == agent.index
    assert all(follows(api, agent.index, each) for each in before)
    assert api.call("GET", "/v1/plugin/csi/ebs0").index == other
    assert [stub["ID"] for stub in stubs(api)] == [TWO]
    assert [each["ID"] for each in of_node(api, agent).json] == [TWO]
    assert follows(api, of_node(api, agent).index, before[1])


def test_the_same_process_is_no_news_and_neither_is_its_time(api: Api, agent: FakeAgent) -> None:
    agent.report({"nfs": {"node": up(AllocID=ONE)}}, Allocations={ONE: NFS})
    before = index(api, agent)
    later = {**NFS, "CreateTime": NFS["CreateTime"] + 1_000_000_000}
    agent.report({"nfs": {"node": up(AllocID=ONE)}}, Allocations={ONE: later})
    assert index(api, agent) == before
    agent.report({"nfs": {"node": up(AllocID=ONE)}}, Allocations={ONE: {**NFS, "JobID": "x"}})
    assert index(api, agent) > before
    assert stubs(api)[0]["JobID"] == "x"


def test_the_statuses_of_an_allocation(api: Api, agent: FakeAgent) -> None:
    agent.report({"nfs": {"node": up(AllocID=ONE)}}, Allocations={ONE: NFS})
    assert status(api) == "running"
    agent.report({"nfs": {"node": down("it hangs", AllocID=ONE)}}, Allocations={ONE: NFS})
    assert status(api) == "running"
    assert stubs(api)[0]["ClientDescription"] == "it hangs"
    agent.report({"nfs": {"node": down("it is dead")}})
    assert status(api) == "failed"
    assert stubs(api)[0].items() >= NFS.items()
    agent.report({"nfs": {"node": up(AllocID=TWO)}}, Allocations={TWO: NFS})
    assert status(api) == "running"
    agent.report({})
    assert status(api) == "failed"
    api.services.intake.silence([agent.node_id])
    assert status(api) == "lost"
    assert of_node(api, agent).json[0]["ClientStatus"] == "lost"
    api.call("DELETE", "/v1/plugin/csi/nfs")
    assert of_node(api, agent).json == []


def test_the_half_that_says_it_runs_is_believed(api: Api, agent: FakeAgent) -> None:
    agent.report(
        {"nfs": {"controller": down(AllocID=ONE), "node": up(AllocID=ONE)}}, Allocations={ONE: NFS}
    )
    agent.report({"nfs": {"controller": down(), "node": up(AllocID=ONE)}}, Allocations={ONE: NFS})
    assert status(api) == "running"


def test_a_node_that_has_another_name(api: Api, agent: FakeAgent) -> None:
    report = {"nfs": {"node": up(AllocID=ONE)}}
    agent.report(report, Allocations={ONE: NFS})
    agent.name = "renamed"
    agent.report(report, Allocations={ONE: NFS})
    assert stubs(api)[0]["NodeName"] == "renamed"
    assert of_node(api, agent).json[0]["NodeName"] == "renamed"


def test_a_nodes_list_heeds_what_lists_heed(api: Api, agent: FakeAgent) -> None:
    plugins = {name: {"node": up(AllocID=id_)} for name, id_ in (("a", ONE), ("b", TWO))}
    agent.report(plugins, Allocations={ONE: NFS, TWO: NFS})
    path = f"/v1/node/{agent.node_id}/allocations"

    def ids(query: str) -> list[str]:
        return [row["ID"] for row in api.call("GET", f"{path}?{query}").json]

    assert ids("reverse") == [TWO, ONE]
    assert ids(f"prefix={ONE}") == ids(f"filter=ID+==+%22{ONE}%22") == ids("per_page=1") == [ONE]
    assert ids(f"next_token={TWO}") == [TWO]
    assert api.call("GET", f"{path}?filter=((").status == 400


def test_they_are_sorted(api: Api) -> None:
    agents = [FakeAgent(api, name=name) for name in ("vm1", "vm2")]
    for agent, ids in zip(agents, ((TWO, ONE), (ONE, TWO)), strict=True):
        plugins = {name: {"node": up(AllocID=id_)} for name, id_ in zip("ab", ids, strict=True)}
        agent.report(plugins, Allocations={ONE: NFS, TWO: NFS})
        assert [each["ID"] for each in of_node(api, agent).json] == [ONE, TWO]
    assert [stub["NodeName"] for stub in stubs(api, "a")] == ["vm2", "vm1"]


@pytest.mark.parametrize(
    ("described", "place"),
    [
        ({ONE: []}, f"Allocations.{ONE}"),
        ({ONE: {**NFS, "JobID": 7}}, f"Allocations.{ONE}.JobID"),
        ({ONE: {**NFS, "JobID": "\ud800"}}, f"Allocations.{ONE}.JobID"),
        ({ONE: {**NFS, "Name": "x" * 513}}, f"Allocations.{ONE}.Name"),
        ({ONE: {**NFS, "CreateTime": "2026"}}, f"Allocations.{ONE}.CreateTime"),
        ({ONE: {**NFS, "CreateTime": 2**63}}, f"Allocations.{ONE}.CreateTime"),
        ({"": NFS}, "Allocations"),
        ({"x" * 129: NFS}, f"Allocations.{'x' * 64}"),
    ],
    ids=lambda value: str(value)[-30:].encode("ascii", "replace").decode(),
)
def test_a_bad_one_is_reported_and_holds_nothing_back(
    api: Api, agent: FakeAgent, described: Any, place: str
) -> None:
    plugins = {"nfs": {"node": up(AllocID=ONE)}, "ebs0": {"node": up(AllocID=TWO)}}
    answer = agent.report(plugins, Allocations={**described, TWO: NFS})
    (rejected,) = answer.json["Rejected"]
    assert (answer.status, rejected["Field"]) == (200, place)
    assert rejected["Reason"]
    assert stubs(api) == []
    assert [stub["ID"] for stub in stubs(api, "ebs0")] == [TWO]


def test_unknown_fields_of_one_are_passed_over(api: Api, agent: FakeAgent) -> None:
    described = {ONE: {"JobID": "j", "Later": 1}}
    agent.report({"nfs": {"node": up(AllocID=ONE)}}, Allocations=described)
    assert (stubs(api)[0]["JobID"], stubs(api)[0]["CreateTime"]) == ("j", 0)


@pytest.mark.parametrize("described", [[], "x", {str(number): {} for number in range(4097)}])
def test_invalid_allocations(api: Api, agent: FakeAgent, described: Any) -> None:
    answer = agent.report({}, Allocations=described)
    assert (answer.status, answer.text.partition(":")[0]) == (400, "Allocations")


def test_they_outlive_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        agent.report({"nfs": {"node": up(AllocID=ONE)}}, Allocations={ONE: NFS})
        before = (stubs(api), of_node(api, agent).json)
    with serving(tmp_path, live=False) as api:
        assert (stubs(api), of_node(api, agent).json) == before
        agent.api = api
        assert agent.beat().status == 200
        agent.report({"nfs": {"node": down("it is dead")}})
        assert status(api) == "failed"
    with serving(tmp_path, live=False) as api:
        assert status(api) == "failed"


def every(api: Api, query: str = "") -> Answer:
    return api.call("GET", f"/v1/allocations{query}")


def one(api: Api, id_: str, query: str = "") -> Answer:
    return api.call("GET", f"/v1/allocation/{id_}{query}")


def test_the_list_of_all_has_the_stubs_of_each_plugin(api: Api) -> None:
    assert (every(api).json, every(api).index) == ([], 1)
    for name, (first, second) in (("vm1", (ONE, TWO)), ("vm2", (TWO + "2", ONE + "1"))):
        plugins = {"nfs": {"node": up(AllocID=first)}, "ebs0": {"node": up(AllocID=second)}}
        FakeAgent(api, name=name).report(plugins, Allocations={first: NFS, second: NFS})
    both = stubs(api, "nfs") + stubs(api, "ebs0")
    answer = every(api)
    assert answer.json == sorted(both, key=lambda stub: str(stub["ID"]))
    assert answer.index == api.call("GET", "/v1/nodes").index


def test_the_list_of_all_heeds_what_lists_heed(api: Api, agent: FakeAgent) -> None:
    plugins = {name: {"node": up(AllocID=id_)} for name, id_ in (("a", ONE), ("b", TWO))}
    agent.report(plugins, Allocations={ONE: NFS, TWO: {**NFS, "JobID": "b"}})

    def ids(query: str) -> list[str]:
        return [row["ID"] for row in every(api, f"?{query}").json]

    assert ids("reverse") == [TWO, ONE]
    assert ids(f"prefix={ONE[:8]}") == ids("filter=JobID+!=+b") == ids("per_page=1") == [ONE]
    assert ids(f"next_token={TWO}") == [TWO]
    assert every(api, "?filter=((").status == 400


def test_one_read_by_itself_says_what_its_stub_says(api: Api, agent: FakeAgent) -> None:
    agent.report({"nfs": {"node": up(AllocID=ONE)}}, Allocations={ONE: NFS})
    (stub,) = stubs(api)
    whole = one(api, ONE).json
    same = stub.keys() & whole.keys() - {"TaskStates"}
    assert {key: whole[key] for key in same} == {key: stub[key] for key in same}
    (row,) = of_node(api, agent).json
    assert row.keys() <= whole.keys()
    assert one(api, ONE).index == of_node(api, agent).index


def test_one_that_two_nodes_name_is_that_of_the_node_where_it_runs(api: Api) -> None:
    agents = {name: FakeAgent(api, name=name) for name in ("vm1", "vm2")}
    for agent in agents.values():
        agent.report({"nfs": {"node": up(AllocID=ONE)}}, Allocations={ONE: NFS})
    for name, other in (("vm1", "vm2"), ("vm2", "vm1")):
        agents[name].report({"nfs": {"node": up(AllocID=ONE)}}, Allocations={ONE: NFS})
        agents[other].report({"nfs": {"node": down("it is dead")}})
        assert one(api, ONE).json["NodeName"] == name


def test_one_goes_with_its_last_instance(api: Api, agent: FakeAgent) -> None:
    agent.report({"nfs": {"node": up(AllocID=ONE)}}, Allocations={ONE: NFS})
    agent.report({"nfs": {"node": up(AllocID=TWO)}}, Allocations={TWO: NFS})
    gone = one(api, ONE)
    assert (gone.status, gone.text) == (404, "alloc not found")
    assert gone.index == api.services.catalogue.index
    assert one(api, TWO).status == 200
    assert [row["ID"] for row in every(api).json] == [TWO]


def test_a_query_waits_for_one_to_change_and_to_come(api: Api, agent: FakeAgent) -> None:
    asking = {id_: one(api, id_).index for id_ in (ONE, TWO)}
    agent.report({"nfs": {"node": up(AllocID=ONE)}}, Allocations={ONE: NFS})
    come = one(api, ONE, f"?index={asking[ONE]}&wait=5m")
    assert (come.status, come.json["ClientStatus"]) == (200, "running")
    with ThreadPoolExecutor() as pool:
        queries = [
            pool.submit(one, api, ONE, f"?index={come.index}&wait=5m"),
            pool.submit(every, api, f"?index={every(api).index}&wait=5m"),
        ]
        eventually(lambda: api.services.catalogue.parked == 2)
        agent.report({"nfs": {"node": down("it is dead")}})
        whole, rows = (query.result(PATIENCE) for query in queries)
    assert whole.json["ClientStatus"] == rows.json[0]["ClientStatus"] == "failed"
