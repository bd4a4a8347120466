"""Nodes that go down and come back, and plugins that the configuration declares."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from plugind.errors import Busy, StoreError, UnknownOutcome
from plugind.feed.liveness import Liveness
from plugind.intake import Accepted, Pending
from plugind.model import Beat, Declaration, PluginKey
from plugind.model.times import parse_time
from tests.promises import PATIENCE
from tests.support import FakeAgent, down, eventually, follows, second, serving, up

DECLARED = """
plugin "csi" "ebs0" {
  controllers_expected = 3
  nodes_expected       = 2
}
"""


@pytest.mark.alone
def test_a_down_node_is_reported_and_its_return_too(tmp_path: Path) -> None:
    with serving(tmp_path, live=False, server_heartbeat_ttl="1s") as api:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up(), "controller": down("disk on fire")}})
        digest, answered = agent.digest, time.time_ns()
        index = api.call("GET", f"/v1/plugins?type=csi&index={agent.index}&wait=5m").index
        assert follows(api, index, agent.index)
        body = api.call("GET", "/v1/plugin/csi/ebs0").json
        node, controller = body["Nodes"][agent.node_id], body["Controllers"][agent.node_id]
        assert (body["NodesHealthy"], body["NodesExpected"]) == (0, 1)
        assert node["HealthDescription"] == (
            f"nothing heard of node vm1 since {second(node['UpdateTime'])}"
        )
        assert controller["HealthDescription"] == (
            f"{node['HealthDescription']}; "
            f"before that, since {second(controller['UpdateTime'])}: disk on fire"
        )
        (stub,) = api.call("GET", "/v1/nodes").json
        assert stub["Status"] == "down"
        assert stub["StatusDescription"] == f"nothing heard since {second(node['UpdateTime'])}"
        assert parse_time(controller["UpdateTime"]) < parse_time(node["UpdateTime"]) < answered
        assert agent.beat(digest).status == 200
        body = api.call("GET", "/v1/plugin/csi/ebs0").json
        assert body["NodesHealthy"] == 1
        assert follows(api, body["ModifyIndex"], index)
        assert body["Nodes"][agent.node_id]["UpdateTime"] > node["UpdateTime"]
        back = body["Controllers"][agent.node_id]
        assert back["HealthDescription"] == "disk on fire"
        assert back["UpdateTime"] == controller["UpdateTime"], "it has been so all the time"
        eventually(lambda: api.call("GET", "/v1/nodes").json[0]["Status"] == "down")
        agent.report({"ebs0": {"node": up(), "controller": down("disk on fire")}})
        assert api.call("GET", "/v1/nodes").json[0]["Status"] == "ready"


def test_a_restart_of_the_server_marks_no_node_as_down_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
    with serving(tmp_path, live=False) as api:
        assert api.call("GET", "/v1/nodes").json[0]["Status"] == "ready"
        assert api.call("GET", "/v1/plugins?type=csi").index == agent.index


@pytest.mark.sqlite
def test_a_plugin_that_is_only_declared_is_shown(tmp_path: Path) -> None:
    """Keep declarations at a start on etcd, because other servers may have other files."""
    with serving(tmp_path, live=False, config=DECLARED) as api:
        body = api.call("GET", "/v1/plugin/csi/ebs0").json
        assert (body["ControllersHealthy"], body["ControllersExpected"]) == (0, 3)
        assert (body["NodesHealthy"], body["NodesExpected"]) == (0, 2)
        assert (body["Provider"], body["Controllers"], body["Nodes"]) == ("", {}, {})
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        assert api.call("GET", "/v1/plugins?type=csi").json[0]["NodesHealthy"] == 1
        agent.report({"ebs0": {"node": None}})
        assert api.call("GET", "/v1/plugin/csi/ebs0").json["CreateIndex"] == body["CreateIndex"]
    with serving(tmp_path, live=False) as api:
        gone = api.call("GET", "/v1/plugin/csi/ebs0")
        assert gone.status == 404
        assert follows(api, gone.index, agent.index)


def test_an_instance_that_is_lost_for_too_long_is_forgotten(tmp_path: Path) -> None:
    with serving(tmp_path, live=False, server_gc_threshold="1s") as api:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}, "nfs": {"node": up()}})
        agent.report({"nfs": {"node": down()}})
        gone = api.call("GET", f"/v1/plugin/csi/ebs0?index={agent.index}&wait=5m")
        assert gone.status == 404
        assert follows(api, gone.index, agent.index)
        assert [row["ID"] for row in api.call("GET", "/v1/plugins?type=csi").json] == ["nfs"]
        assert agent.beat().status == 200, "it does not report what was forgotten"


def test_a_node_that_is_down_for_too_long_is_forgotten_with_all_it_had(tmp_path: Path) -> None:
    given = {"server_gc_threshold": "1s", "server_heartbeat_ttl": "1s"}
    with serving(tmp_path, live=False, **given) as api:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        eventually(lambda: api.call("GET", "/v1/nodes").json == [])
        history = api.call("GET", f"/v1/node/{agent.node_id}/history").json
        assert "down" in [row["Event"] for row in history], "before it was forgotten"
        assert api.call("GET", "/v1/plugins?type=csi").json == []
        assert agent.beat().status == 409


@pytest.mark.alone
def test_an_instance_that_came_back_is_not_forgotten(tmp_path: Path) -> None:
    with serving(tmp_path, live=False, server_gc_threshold="1s") as api:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        first = agent.index
        for _ in range(15):
            agent.report({})
            time.sleep(0.1)
            agent.report({"ebs0": {"node": up()}})
        assert api.call("GET", "/v1/plugin/csi/ebs0").json["CreateIndex"] == first


@pytest.mark.alone
def test_a_restart_gives_what_is_lost_its_time(tmp_path: Path) -> None:
    """Give lost instances the whole threshold again, whatever the wall clock says."""
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        agent.report({})
    time.sleep(1.1)
    with serving(tmp_path, live=False, server_gc_threshold="1s") as api:
        assert api.call("GET", "/v1/plugin/csi/ebs0").status == 200
        path = f"/v1/plugin/csi/ebs0?index={agent.index}&wait=5m"
        assert api.call("GET", path).status == 404


@pytest.mark.alone
def test_two_agents_with_one_identity_are_noticed(tmp_path: Path) -> None:
    """Take a new RunID for a restart, and one that returns for a clone."""
    plugins = {"ebs0": {"node": up()}}
    with serving(tmp_path, live=False, server_heartbeat_ttl="1s") as api:
        agent = FakeAgent(api)

        def described() -> str:
            (stub,) = api.call("GET", "/v1/nodes").json
            return str(stub["StatusDescription"])

        agent.report(plugins, RunID="one")
        first = agent.index
        for run_id in ("two", "two", "three"):
            assert described() == ""
            agent.report(plugins, RunID=run_id)
        assert described() == ""
        assert api.call("GET", "/v1/nodes").index == first, "a restart moves no index"
        agent.report(plugins, RunID="one")
        assert follows(api, agent.index, first)
        assert described().startswith("two agents report as this node since")
        message = api.call("GET", "/v1/agent/health").json["server"]["message"]
        assert message == "ok; as 1 of the nodes two agents report each", "health shows no names"
        plugins_index = api.call("GET", "/v1/plugins?type=csi").index
        assert plugins_index == first, "its plugins are as they were"

        def alone() -> bool:
            agent.report(plugins, RunID="one")
            return described() == ""

        eventually(alone)
        assert api.call("GET", "/v1/agent/health").json["server"]["message"] == "ok"


def test_a_heartbeat_may_say_which_agent_it_is(tmp_path: Path) -> None:
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        for run_id in ("one", "two"):
            agent.report({}, RunID=run_id)
        body = {"Digest": agent.digest, "RunID": "one"}
        path = f"/v1/node/{agent.node_id}/heartbeat"
        assert api.call("PUT", path, body, agent.headers).status == 200
        assert "two agents" in api.call("GET", "/v1/nodes").json[0]["StatusDescription"]


def test_a_node_that_reports_while_it_is_marked_as_down_is_not_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, live=False) as api:
        agent, intake = FakeAgent(api), api.services.intake
        real, indexes = intake.begin, []

        def begin(*given: Any) -> Pending:
            pending = real(*given)

            def result(timeout: float) -> Accepted:
                accepted = pending.result(timeout)
                indexes.append(intake.silence([agent.node_id]))
                return accepted

            return pending._replace(result=result)

        monkeypatch.setattr(intake, "begin", begin)
        index = agent.report({"ebs0": {"node": up()}}).json["Index"]
        (marked,) = indexes
        assert follows(api, index, marked), "it was taken back, and nothing else happened"
        assert api.call("GET", "/v1/nodes").json[0]["Status"] == "ready"
        assert api.call("GET", "/v1/nodes").index == index


@pytest.mark.parametrize("error", [StoreError("full"), Busy("busy"), UnknownOutcome("slow")])
def test_an_agent_is_heard_whatever_becomes_of_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        agent.report({})
        before = api.services.liveness.heard()[agent.node_id]
        monkeypatch.setattr(api.services.intake, "begin", Mock(side_effect=error))
        assert agent.report({"ebs0": {"node": up()}}).status == 503
        assert api.services.liveness.heard()[agent.node_id].heard > before.heard


def watching(silence: Callable[..., object]) -> Liveness:
    """Watch a node that was last heard long ago."""
    nodes = {"n": Beat(5)}
    return Liveness(0.1, 60.0, nodes, silence=silence, lost=lambda: (), collect=lambda each: None)


def test_a_late_beat_is_in_time_until_the_node_is_marked_as_down() -> None:
    asked: list[int | None] = []
    done = threading.Event()

    def silence(node_ids: Collection[str], last_heard: Callable[[str], int | None]) -> None:
        (node_id,) = node_ids
        asked.append(last_heard(node_id))
        late.append(watch.beat(node_id)[1])
        asked.append(last_heard(node_id))
        done.set()

    late: list[bool] = []
    watch = watching(silence)
    try:
        assert done.wait(PATIENCE)
    finally:
        watch.close()
    assert (asked[:2], late[:1]) == ([5, None], [True])


def test_a_fault_of_one_tick_ends_no_other() -> None:
    asked = threading.Semaphore(0)

    def silence(node_ids: Collection[str], last_heard: Callable[[str], int | None]) -> None:
        asked.release()
        raise RuntimeError("a fault")

    with capture_logs() as log:
        watch = watching(silence)
        try:
            for _ in range(3):
                assert asked.acquire(timeout=PATIENCE)
            assert watch.thread.trouble == ""
        finally:
            watch.close()
    (failure,) = log
    assert failure["event"] == "late nodes could not be marked as down", "it is logged once"


def test_nodes_that_go_down_together_are_one_change(tmp_path: Path) -> None:
    """Commit nodes that go down when a switch fails together, and so with one sync."""
    with serving(tmp_path, live=False) as api:
        agents = [FakeAgent(api, name=f"vm{number}") for number in range(20)]
        for agent in agents:
            agent.report({"ebs0": {"node": up()}})
        intake = api.services.intake
        before = api.services.catalogue.index
        late = [agent.node_id for agent in agents]
        intake.silence(late, lambda id_: None if id_ == agents[0].node_id else 1)
        stubs = api.call("GET", "/v1/nodes").json
        assert sorted(stub["Name"] for stub in stubs if stub["Status"] == "ready") == ["vm0"]
        assert follows(api, api.services.catalogue.index, before)
        assert api.call("GET", "/v1/plugin/csi/ebs0").json["NodesHealthy"] == 1


def test_a_report_that_shows_a_clone_is_one_change(tmp_path: Path) -> None:
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        for run_id in ("one", "two"):
            agent.report({"ebs0": {"node": up()}}, RunID=run_id)
        first = agent.index
        agent.report({"ebs0": {"node": down()}}, RunID="one")
        assert agent.index == api.services.catalogue.index
        assert follows(api, agent.index, first)
        assert "two agents" in api.call("GET", "/v1/nodes").json[0]["StatusDescription"]


def test_a_report_with_a_wrong_secret_makes_no_clone(tmp_path: Path) -> None:
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        agent.report({}, RunID="one")
        thief = FakeAgent(api, agent.node_id, secret="guessed")
        assert thief.report({}, RunID="two").status == 403
        agent.report({}, RunID="one")
        assert api.call("GET", "/v1/nodes").json[0]["StatusDescription"] == ""


def test_a_clone_is_one_across_a_restart_of_the_server(tmp_path: Path) -> None:
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        for run_id in ("one", "two", "one"):
            agent.report({}, RunID=run_id)
        index = api.services.catalogue.index
    with serving(tmp_path, live=False) as api:
        agent.api = api
        for run_id in ("one", "two", "one"):
            assert agent.beat(run_id=run_id).status == 200
            assert "two agents" in api.call("GET", "/v1/nodes").json[0]["StatusDescription"]
        assert api.services.catalogue.index == index


def test_nothing_is_remembered_of_a_node_that_is_forgotten(tmp_path: Path) -> None:
    """Allow any RunID after any way of forgetting a node."""
    with serving(tmp_path, live=False) as api:
        agent, services = FakeAgent(api), api.services
        for forget in (
            lambda: services.intake.collect(services.feed.state.lost()),
            lambda: services.intake.forget_node(agent.node_id),
        ):
            for run_id in ("one", "two"):
                agent.report({}, RunID=run_id)
            services.intake.silence([agent.node_id])
            forget()
            assert api.call("GET", "/v1/nodes").json == []
            agent.report({}, RunID="one")
            assert api.call("GET", "/v1/nodes").json[0]["StatusDescription"] == ""
            services.intake.forget_node(agent.node_id)


def test_a_declaration_of_what_is_known_anyway_changes_nothing_that_is_read(tmp_path: Path) -> None:
    with serving(tmp_path, live=False) as api:
        FakeAgent(api).report({"ebs0": {"node": up()}})
        before = api.call("GET", "/v1/plugins?type=csi")

        def declared(**expected: int) -> int:
            api.services.intake.declare([Declaration(PluginKey("csi", "ebs0"), expected)])
            return api.call("GET", "/v1/plugin/csi/ebs0").index

        assert declared(node=1) == declared(node=1, controller=0) == before.index
        assert api.call("GET", "/v1/plugins?type=csi").body == before.body
        two = declared(node=2)
        assert follows(api, two, before.index, 3)
        none = declared(controller=0)
        assert follows(api, none, two), "one is expected again, the one that is known"
    with serving(tmp_path, live=False) as api:
        assert api.call("GET", "/v1/plugins?type=csi").index == none
