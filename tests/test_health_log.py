"""The server's log of health changes: one line each, with names, and limited during a flood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from plugind.health.health_log import LINES_MAXIMUM, REASON_MAXIMUM
from tests.support import FakeAgent, down, eventually, serving, up

EVENTS = ("appeared", "left", "became healthy", "became unhealthy")


def lines(log: list[Any]) -> list[Any]:
    return [each for each in log if each["event"] in EVENTS]


def test_each_change_of_health_is_one_line_with_names(tmp_path: Path) -> None:
    with capture_logs() as log, serving(tmp_path, live=False) as api:
        agent = FakeAgent(api, name="vm one")
        for fingerprint in (up(), up(), up(Provider="x"), down("fire"), down("flood"), up()):
            agent.report({"ebs0": {"node": fingerprint}})
        api.services.intake.silence([agent.node_id])
        api.services.intake.forget_node(agent.node_id)
        eventually(lambda: len(lines(log)) >= 5)
    found = lines(log)
    assert [each["event"] for each in found] == [EVENTS[i] for i in (0, 3, 2, 3, 1)]
    names = {"type": "csi", "id": "ebs0", "role": "node", "node": "vm one"}
    for each in found:
        assert (each["log_level"], each["component"]) == ("info", "health")
        assert each["node_id"] == agent.node_id
        assert {key: each[key] for key in names} == names
    assert found[1]["reason"] == "fire"
    assert found[3]["reason"].startswith("nothing heard of node vm one since ")
    (loss,) = (each for each in log if each["event"] == "nothing heard of a node")
    assert (loss["node"], loss["node_id"]) == ("vm one", agent.node_id)


def test_a_flood_is_cut_and_counted(tmp_path: Path) -> None:
    with capture_logs() as log, serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        agent.report({f"p{number}": {"node": down("x" * 1000)} for number in range(4000)})
        eventually(lambda: any("more changes" in each["event"] for each in log))
    assert len(lines(log)) == LINES_MAXIMUM
    assert {len(each["reason"]) for each in lines(log)} == {REASON_MAXIMUM}
    (more,) = (each for each in log if "more changes" in each["event"])
    assert more["count"] == more["appeared"] == 4000 - LINES_MAXIMUM


def test_a_server_that_starts_logs_nothing_of_its_stored_state(tmp_path: Path) -> None:
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": down()}})
    with capture_logs() as log, serving(tmp_path, live=False) as api:
        agent.api = api
        agent.report({"ebs0": {"node": down()}})
    assert lines(log) == []
