"""Availability in the API: of a plugin, and of the instances of a node."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from plugind.api.availability import rounded_share
from plugind.api.turns import SELECTED, kind_of
from plugind.model import Declaration, PluginKey
from plugind.model.times import SECOND, format_time, parse_time
from tests.promises import PATIENCE
from tests.support import Api, FakeAgent, down, eventually, serving, up

EBS0 = "/v1/plugin/csi/ebs0/availability"


def read(api: Api, path: str = EBS0) -> list[dict[str, Any]]:
    answer = api.call("GET", path)
    assert answer.status == 200, answer.text
    found: list[dict[str, Any]] = answer.json
    return found


def test_each_role_has_three_windows(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"controller": up(), "node": down()}})
    controller, node = read(api)
    assert [(each["Type"], each["ID"]) for each in (controller, node)] == [("csi", "ebs0")] * 2
    assert [controller["Role"], node["Role"]] == ["controller", "node"]
    for role in (controller, node):
        assert [each["Window"] for each in role["Windows"]] == ["24h", "7d", "30d"]
    day = controller["Windows"][0]
    span = parse_time(day["Until"]) - parse_time(day["Since"])
    assert (span, day["KnownSince"]) == (24 * 3600 * SECOND, day["Since"])
    assert day["Observed"] == day["Healthy"] > 0
    assert (day["Availability"], day["AnyHealthy"]) == (1, 1)
    day = node["Windows"][0]
    assert day["Observed"] == day["Unhealthy"] > 0
    assert (day["Availability"], day["AnyHealthy"], day["NodeDown"]) == (0, 0, 0)


def test_a_node_has_its_instances_by_type_and_role(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": up()}, "nfs": {"node": down()}})
    FakeAgent(api, name="vm2").report({"ebs0": {"node": down()}})
    (found,) = read(api, f"/v1/node/{agent.node_id}/availability")
    assert (found["Type"], found["ID"], found["Role"]) == ("csi", "", "node")
    assert found["Windows"][0]["Availability"] == pytest.approx(0.5, abs=0.01)


def test_one_window_of_its_own(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": up()}})
    begin = format_time(time.time_ns())
    agent.report({"ebs0": {"node": down()}})
    ((day,), (whole,)) = (
        read(api, f"{EBS0}?{query}")[0]["Windows"] for query in (f"since={begin}", "since=1h")
    )
    assert day["Window"] == ""
    assert day["Since"] == begin
    assert day["Healthy"] < whole["Healthy"]
    (before,) = read(api, f"{EBS0}?until=1h")[0]["Windows"]
    span = parse_time(before["Until"]) - parse_time(before["Since"])
    assert span == 24 * 3600 * SECOND
    assert (before["Observed"], before["Availability"], before["AnyHealthy"]) == (0, None, None)
    later = format_time(time.time_ns() + 3600 * SECOND)
    (none,) = read(api, f"{EBS0}?since={later}&until={later}")[0]["Windows"]
    assert (none["Observed"], none["Availability"]) == (0, None)


def test_time_before_the_server_ran_is_unknown(api: Api, agent: FakeAgent) -> None:
    """Declare a plugin before any history, when no server was running."""
    api.services.intake.declare([Declaration(PluginKey("csi", "none"), {"node": 2})])
    (found,) = read(api, "/v1/plugin/csi/none/availability")
    assert found["Windows"][2]["Observed"] == found["Windows"][2]["Unhealthy"] > 0


def test_what_never_was_is_404_and_what_is_gone_is_not(api: Api, agent: FakeAgent) -> None:
    for path, text in (
        ("/v1/plugin/csi/none/availability", "plugin not found"),
        ("/v1/node/11111111-2222-4333-8444-555555555555/availability", "node not found"),
    ):
        answer = api.call("GET", path)
        assert (answer.status, answer.text) == (404, text)
    agent.report({"ebs0": {"node": up()}})
    api.call("DELETE", f"/v1/node/{agent.node_id}")
    assert read(api)[0]["Windows"][0]["Healthy"] > 0
    assert read(api, f"/v1/node/{agent.node_id}/availability")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("since=yesterday", "Invalid since: it is a time"),
        ("until=x", "Invalid until: it is a time"),
        ("since=1h&until=2h", "Invalid since: it is later than until"),
    ],
)
def test_mistakes(api: Api, agent: FakeAgent, query: str, text: str) -> None:
    agent.report({"ebs0": {"node": up()}})
    answer = api.call("GET", f"{EBS0}?{query}")
    assert answer.status == 400
    assert answer.text.startswith(text)


def test_a_query_that_waits_is_woken_by_the_next_transition(tmp_path: Path) -> None:
    with serving(tmp_path, live=True) as api, ThreadPoolExecutor(1) as pool:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        index = api.call("GET", EBS0).index
        waiting = pool.submit(api.call, "GET", f"{EBS0}?index={index}&wait=2m")
        eventually(lambda: api.services.catalogue.parked == 1)
        agent.report({"ebs0": {"node": down()}})
        assert waiting.result(PATIENCE).index > index


def test_a_restart_is_a_gap(tmp_path: Path) -> None:
    def known() -> float:
        (found,) = read(api)[0]["Windows"][:1]
        seconds: float = found["Observed"]
        return seconds

    with serving(tmp_path, live=False) as api:
        FakeAgent(api).report({"ebs0": {"node": up()}})
        first = known()
        begun = time.time_ns()
    time.sleep(0.3)  # the server is away for a while
    with serving(tmp_path, live=False) as api:
        now = time.time_ns()
        assert first <= known() <= first + (now - begun) / SECOND - 0.3 + 5
        (day, *_) = read(api)[0]["Windows"]
        whole = (parse_time(day["Until"]) - begun) / SECOND
        assert day["Unknown"] >= 0.25
        assert day["Observed"] < whole + first


def test_it_takes_turns_with_other_costly_reads() -> None:
    class Asked:
        method, path, query = "GET", EBS0, dict[str, str]()

    assert kind_of(Asked()) == SELECTED  # type: ignore[arg-type]


def test_no_cache_keeps_it(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": up()}})
    answer = api.call("GET", EBS0)
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (None, None),
        (0, 0),
        (1e-12, 0.000001),
        (0.6818189, 0.681818),
        (0.9999999, 0.999999),
        (1 - 1e-12, 0.999999),
        (1.0, 1),
    ],
)
def test_only_all_is_shown_as_all_and_nothing_as_nothing(
    share: float | None, shown: float | None
) -> None:
    assert rounded_share(share) == shown
