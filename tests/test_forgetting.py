"""A forget lasts: unhealthy reports of a forgotten instance are ignored until it is healthy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugind.intake import forgetting
from plugind.model import Declaration, Lost, PluginKey
from plugind.model.times import time_text
from plugind.store.sqlite.maintenance import backup
from plugind.store.sqlite.restoring import restore
from tests.support import Api, FakeAgent, down, serving, up

PATH = "/v1/plugin/csi/ebs0"
SICK = {"ebs0": {"node": down("fire")}}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path, live=False) as made:
        yield made


@pytest.fixture
def agent(api: Api) -> FakeAgent:
    """Return the agent of a node with an unhealthy instance that was forgotten."""
    made = FakeAgent(api)
    made.report({**SICK, "nfs": {"node": up()}})
    forget(api)
    return made


def forget(api: Api) -> None:
    assert api.call("DELETE", PATH).status == 200
    assert api.call("GET", PATH).status == 404


def shown(api: Api) -> list[str]:
    return [row["ID"] for row in api.call("GET", "/v1/plugins?type=csi").json]


def declare(api: Api, *ids: str) -> None:
    api.services.intake.declare([Declaration(PluginKey("csi", id_), {}) for id_ in ids])


def settles(agent: FakeAgent, plugins: dict[str, Any]) -> None:
    """Fail unless the agent is asked for at most one report, and no index changes after that."""
    answer = agent.report(plugins)
    assert answer.status == 200
    assert agent.beat().status == 200
    again = agent.report(plugins)
    assert again.json["Index"] == answer.json["Index"]
    assert agent.beat().status == 200


def test_it_is_ignored_until_it_was_healthy_once(api: Api, agent: FakeAgent) -> None:
    assert agent.beat().status == 409, "the digest is void, so that the agent reports all"
    settles(agent, SICK)
    settles(agent, {"ebs0": {"node": down("another reason", Provider="x")}})
    assert "ebs0" not in shown(api)
    settles(agent, {"ebs0": {"node": up()}})
    settles(agent, SICK)
    assert "ebs0" in shown(api)


def test_a_mistake_of_an_ignored_item_is_reported_all_the_same(api: Api, agent: FakeAgent) -> None:
    answer = agent.report({"ebs0": {"node": {"Healthy": "no"}}})
    assert [each["Field"] for each in answer.json["Rejected"]] == ["Healthy"]
    assert "ebs0" not in shown(api)


def test_a_declaration_brings_it_back(api: Api, agent: FakeAgent) -> None:
    settles(agent, SICK)
    declare(api, "nfs")
    assert agent.beat().status == 200, "it is about another plugin"
    declare(api, "ebs0")
    assert agent.beat().status == 409
    settles(agent, SICK)
    body = api.call("GET", PATH).json
    assert body["Nodes"][agent.node_id]["HealthDescription"] == "fire"
    assert body["NodesExpected"] == 1


def test_an_instance_that_the_agents_configuration_names_stays(api: Api) -> None:
    agent = FakeAgent(api)
    named = {"ebs0": {"node": down("fire", Configured=True)}}
    agent.report(named)
    forget(api)
    settles(agent, {"ebs0": {"node": down("fire", Configured=False)}})
    assert shown(api) == []
    settles(agent, named)
    body = api.call("GET", PATH).json["Nodes"][agent.node_id]
    assert body["HealthDescription"] == "fire"
    assert "Configured" not in body


def test_configured_must_be_a_flag(api: Api) -> None:
    answer = FakeAgent(api).report({"ebs0": {"node": up(Configured="yes")}})
    assert [each["Field"] for each in answer.json["Rejected"]] == ["Configured"]


def test_a_missing_instance_stays_forgotten_and_costs_no_report(api: Api) -> None:
    agent = FakeAgent(api)
    agent.report(SICK)
    agent.report({})
    forget(api)
    assert agent.beat().status == 200, "it is not what the agent reports"
    settles(agent, SICK)
    assert shown(api) == []


def test_all_roles_stand_for_those_that_were_forgotten(api: Api) -> None:
    """Accept "*" for all forgotten roles: a new agent does not know a dead driver's halves."""
    agent = FakeAgent(api)
    agent.report({"ebs0": {"controller": down()}})
    forget(api)
    settles(agent, {"ebs0": {"*": down()}})
    assert shown(api) == []
    settles(agent, {"ebs0": {"*": up()}})
    assert list(api.call("GET", PATH).json["Controllers"]) == [agent.node_id]


def test_a_null_takes_nothing_back(api: Api, agent: FakeAgent) -> None:
    settles(agent, {"ebs0": {"node": None}})
    settles(agent, SICK)
    assert "ebs0" not in shown(api)


def test_a_node_that_is_forgotten_starts_afresh(api: Api, agent: FakeAgent) -> None:
    settles(agent, SICK)
    assert api.call("DELETE", f"/v1/node/{agent.node_id}").status == 200
    assert api.services.store.load().forgotten == []
    settles(agent, SICK)
    assert shown(api) == ["ebs0"]


def test_an_instance_that_was_missing_for_too_long_does_not_flap(api: Api) -> None:
    """Keep an instance that was missing for too long away, even if a new agent reports it."""
    agent, services = FakeAgent(api), api.services
    agent.report(SICK)
    agent.report({})
    services.intake.collect(services.feed.state.lost())
    assert shown(api) == []
    settles(agent, SICK)
    assert shown(api) == []


def test_all_instances_of_a_node_that_was_down_for_too_long_come_back(api: Api) -> None:
    agent, services = FakeAgent(api), api.services
    agent.report({**SICK, "nfs": {"node": up()}})
    services.intake.silence([agent.node_id])
    services.intake.collect(services.feed.state.lost())
    assert shown(api) == []
    settles(agent, SICK)
    assert shown(api) == ["ebs0"]


def test_it_outlives_the_server_a_backup_and_a_restore(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with serving(tmp_path / "one", live=False) as api:
        agent = FakeAgent(api)
        agent.report(SICK)
        forget(api)
    with serving(tmp_path / "one", live=False) as api:
        agent.api = api
        settles(agent, SICK)
        assert shown(api) == []
        backup(tmp_path / "one/plugind.db", tmp_path / "copy.db")
    with serving(tmp_path / "one", live=False) as api:
        agent.api = api
        assert agent.beat().status == 200
    restore(tmp_path / "copy.db", tmp_path / "two", ())
    with serving(tmp_path / "two", live=False) as api:
        agent.api = api
        settles(agent, SICK)
        assert shown(api) == []


def test_a_disk_that_is_full_forgets_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = FakeAgent(api)
    agent.report(SICK)

    def fail(changes: object) -> None:
        raise OSError("full")

    with monkeypatch.context() as patch:
        patch.setattr(api.services.store, "commit", fail)
        assert api.call("DELETE", PATH).status == 503
    assert agent.beat().status == 200
    agent.report({"ebs0": {"node": down("flood")}})
    assert shown(api) == ["ebs0"]


def test_the_oldest_of_very_many_are_not_remembered(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "FORGOTTEN_MAXIMUM", 2)
    agent = FakeAgent(api)
    plugins = {id_: {"node": down()} for id_ in ("a", "b", "c")}
    for id_ in plugins:
        agent.report(plugins)
        assert api.call("DELETE", f"/v1/plugin/csi/{id_}").status == 200
    assert sorted(mark.key.id for mark in api.services.store.load().forgotten) == ["b", "c"]
    settles(agent, plugins)
    assert shown(api) == ["a"]
    agent.report({id_: {"node": up()} for id_ in plugins})
    agent.report({})
    api.services.intake.collect(api.services.feed.state.lost())
    assert len(api.services.store.load().forgotten) == 2, "more at once than are remembered"


def test_after_a_month_it_counts_as_never_known(
    api: Api, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    settles(agent, SICK)
    never = [Lost("nothing", 0)]
    api.services.intake.collect(never)
    assert agent.beat().status == 200
    monkeypatch.setattr(forgetting, "FORGOTTEN_KEPT", 0)
    api.services.intake.collect(never)
    assert api.services.store.load().forgotten == []
    assert agent.beat().status == 409, "so that the instance is shown again"
    settles(agent, SICK)
    assert "ebs0" in shown(api)


def test_each_reason_has_its_own_time(api: Api) -> None:
    """Check that an instance is unhealthy since the first of its reasons, whatever comes later."""
    agent, services = FakeAgent(api), api.services
    agent.report({"ebs0": {"node": down("fire", UpdateTime="2026-01-02T03:04:05.678Z")}})
    agent.report({})
    (missing,) = services.feed.state.lost()
    services.intake.silence([agent.node_id], lambda node_id: 1_750_000_000_999_999_999)
    instance = api.call("GET", PATH).json["Nodes"][agent.node_id]
    assert instance["UpdateTime"] == "2026-01-02T03:04:05.678Z"
    last = api.call("GET", f"/v1/node/{agent.node_id}").json["CSINodePlugins"]["ebs0"]
    assert last == instance
    absent = time_text(missing.since)
    assert instance["HealthDescription"] == (
        "nothing heard of node vm1 since 2025-06-15T15:06:40Z; "
        f"before that, since {absent}: not reported by vm1; "
        "before that, since 2026-01-02T03:04:05Z: fire"
    )
    agent.report({"ebs0": {"node": down("fire", UpdateTime="2026-02-02T03:04:05Z")}})
    back = api.call("GET", PATH).json["Nodes"][agent.node_id]
    assert (back["HealthDescription"], back["UpdateTime"]) == ("fire", "2026-01-02T03:04:05.678Z")


def test_nothing_is_so_since_a_time_to_come(api: Api) -> None:
    """Use the current time for a report from an agent whose clock is ahead."""
    agent = FakeAgent(api)
    agent.report({"ebs0": {"node": down("fire", UpdateTime="2200-01-01T00:00:00Z")}})
    body = api.call("GET", PATH).json
    assert body["Nodes"][agent.node_id]["UpdateTime"] < "2199"
    assert agent.report({"ebs0": {"node": down("fire", UpdateTime="2200-01-01T00:00:00Z")}})
    assert api.call("GET", PATH).json == body
