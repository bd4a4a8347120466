"""Current problems: few entries that cover all of them, and nothing the caller may not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plugind.api import problems
from plugind.model import Declaration, PluginKey
from tests.api.gate import CLIENTS, gate
from tests.support import Api, FakeAgent, down, serving, up


def read(api: Api, headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = api.call("GET", "/v1/problems", headers=headers)
    assert answer.status == 200, answer.text
    assert answer.index == api.services.feed.state.index
    found: dict[str, Any] = answer.json
    return found


def brief(found: dict[str, Any]) -> list[tuple[str, str, str, int, int]]:
    return [
        (each["Kind"], each["Severity"], each["ID"], each["NodeCount"], each["InstanceCount"])
        for each in found["Problems"]
    ]


def test_all_is_well(api: Api, agent: FakeAgent) -> None:
    assert read(api) == {
        "Severity": "ok",
        "Plugins": 0,
        "PluginsDegraded": 0,
        "PluginsDown": 0,
        "Nodes": 0,
        "NodesDown": 0,
        "ProblemCount": 0,
        "Problems": [],
    }
    agent.report({"ebs0": {"controller": up(), "node": up()}})
    found = read(api)
    assert (found["Severity"], found["Plugins"], found["Nodes"]) == ("ok", 1, 1)


def test_a_node_that_is_down_is_one_entry(api: Api, agent: FakeAgent) -> None:
    agent.report({f"p{number}": {"node": up()} for number in range(30)})
    other = FakeAgent(api, name="vm2")
    other.report({f"p{number}": {"node": up()} for number in range(29)})
    api.services.intake.silence([agent.node_id])
    found = read(api)
    assert brief(found) == [("node", "critical", "", 1, 30)], "p29 runs nowhere else"
    (problem,) = found["Problems"]
    assert problem["Nodes"] == [{"Name": "vm1", "ID": agent.node_id}]
    assert problem["Reason"] == "nothing heard of node vm1"
    assert problem["Since"]
    assert (found["PluginsDegraded"], found["PluginsDown"], found["NodesDown"]) == (29, 1, 1)
    other.report({f"p{number}": {"node": up()} for number in range(30)})
    assert brief(read(api)) == [("node", "warning", "", 1, 30)]


def test_one_reason_on_many_nodes_is_one_entry(api: Api) -> None:
    since = "2026-01-31T23:00:00Z"
    for number in range(7):
        agent = FakeAgent(api, name=f"vm{number}")
        reason = "disk on fire" if number else "flood"
        first = {"UpdateTime": since} if number == 3 else {}
        agent.report({"ebs0": {"controller": up(), "node": down(reason, **first)}})
    found = read(api)
    fire, flood = sorted(found["Problems"], key=lambda each: str(each["Reason"]))
    assert (fire["Reason"], fire["NodeCount"], fire["InstanceCount"]) == ("disk on fire", 6, 6)
    assert [each["Name"] for each in fire["Nodes"]] == ["vm1", "vm2", "vm3", "vm4", "vm5"]
    assert (fire["Severity"], fire["Since"], fire["Roles"]) == ("warning", since, ["node"])
    assert [each["Name"] for each in flood["Nodes"]] == ["vm0"]
    assert found["PluginsDegraded"] == 1


def test_many_reasons_of_a_plugin_are_few_entries(api: Api) -> None:
    since = "2026-01-31T23:00:00Z"
    for number in range(20):
        agent = FakeAgent(api, name=f"vm{number:02}")
        first = {"UpdateTime": since} if number == 19 else {}
        agent.report({"ebs0": {"node": down(f"reason {max(10, number)}", **first)}})
    *named, others = sorted(
        read(api)["Problems"], key=lambda each: str(each["Reason"]), reverse=True
    )
    assert {each["Reason"]: each["InstanceCount"] for each in named} == {
        "reason 10": 11,
        **{f"reason {number}": 1 for number in range(11, 15)},
    }
    assert others["Reason"] == "5 other reasons, such as: reason 15"
    assert (others["NodeCount"], others["InstanceCount"], others["Since"]) == (5, 5, since)
    assert [each["Name"] for each in others["Nodes"]] == [f"vm{number}" for number in range(15, 20)]


def test_what_is_not_reported_any_more_is_one_entry_on_all_nodes(api: Api) -> None:
    for number in range(3):
        agent = FakeAgent(api, name=f"vm{number}")
        agent.report({"ebs0": {"node": up()}})
        agent.report({})
    (problem,) = read(api)["Problems"]
    assert (problem["NodeCount"], problem["Severity"]) == (3, "critical")
    assert problem["Reason"] == "not reported by its node any more"


def test_fewer_than_are_declared(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": up()}})
    declared = {"ebs0": {"node": 3}, "none": {"controller": 1, "node": 2}}
    api.services.intake.declare(
        [Declaration(PluginKey("csi", id_), each) for id_, each in declared.items()]
    )
    found = read(api)
    assert sorted(brief(found)) == [
        ("missing", "critical", "none", 0, 1),
        ("missing", "critical", "none", 0, 2),
        ("missing", "warning", "ebs0", 0, 2),
    ]
    by_id = {each["ID"]: each for each in found["Problems"]}
    assert by_id["ebs0"]["Reason"] == "3 expected, 1 known"
    assert by_id["ebs0"]["Since"] is None
    assert by_id["none"]["Since"]
    assert (found["Plugins"], found["PluginsDegraded"], found["PluginsDown"]) == (2, 1, 1)


def test_an_instance_too_many_that_is_unhealthy_is_shown_and_ok(api: Api, agent: FakeAgent) -> None:
    api.services.intake.declare([Declaration(PluginKey("csi", "ebs0"), {"node": 1})])
    agent.report({"ebs0": {"node": up()}})
    FakeAgent(api, name="vm2").report({"ebs0": {"node": down()}})
    found = read(api)
    assert brief(found) == [("plugin", "ok", "ebs0", 1, 1)]
    assert (found["Severity"], found["PluginsDegraded"]) == ("ok", 0)


def test_two_agents_that_report_as_one_node(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": up()}}, RunID="a")
    for run in ("b", "a", "b"):
        agent.report({"ebs0": {"node": up()}}, RunID=run)
    (problem,) = read(api)["Problems"]
    assert (problem["Kind"], problem["Severity"]) == ("clone", "warning")


def test_an_answer_is_bounded(api: Api, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "MAXIMUM", 2)
    agent.report({f"p{number}": {"node": down()} for number in range(5)})
    found = read(api)
    assert (len(found["Problems"]), found["ProblemCount"]) == (2, 5)


def test_nothing_of_what_the_caller_may_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CLIENTS, "csi-read and node-read", ["csi-read", "node-read"])
    names = ("csi-read", "exec-read", "node-read", "csi-read and node-read")
    made = gate(tmp_path, *names)
    with serving(tmp_path, live=False, config=made.config) as api:
        agent = FakeAgent(api, token=made.secrets["management"])
        body = {"Name": "vm1", "Plugins": {"exec": {"backup": {"check": down()}}}}
        body["Plugins"] = {**body["Plugins"], "csi": {"ebs0": {"node": up()}}}  # type: ignore[dict-item]
        api.call("PUT", f"/v1/node/{agent.node_id}", body, agent.headers)
        empty = FakeAgent(api, name="vm2", token=made.secrets["management"])
        empty.report({})
        assert read(api, made.headers("csi-read"))["Problems"] == []
        assert read(api, made.headers("node-read"))["Problems"] == []
        (problem,) = read(api, made.headers("exec-read"))["Problems"]
        assert problem["ID"] == "backup"
        api.services.intake.silence([agent.node_id, empty.node_id])
        seen = {}
        for name in (*names, "management"):
            found = read(api, made.headers(name))
            counts = sorted(each["InstanceCount"] for each in found["Problems"])
            seen[name] = found["Plugins"], found["PluginsDown"], found["NodesDown"], counts
        assert seen == {
            "csi-read": (1, 1, None, [1]),
            "exec-read": (1, 1, None, [1]),
            "node-read": (0, 0, 2, [0, 2]),
            "csi-read and node-read": (1, 1, 2, [0, 2]),
            "management": (2, 2, 2, [0, 2]),
        }


def test_no_cache_keeps_it(api: Api, agent: FakeAgent) -> None:
    answer = api.call("GET", "/v1/problems")
    assert "etag" not in answer.headers
    assert answer.headers.get("cache-control") == "no-store"
