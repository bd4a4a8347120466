"""The past: the history of a plugin and of a node."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugind.api import history
from plugind.api.history import LOOKED_AT_MAXIMUM
from plugind.model import Declaration, PluginKey
from plugind.model.times import SECOND, format_time, parse_time
from tests.api.gate import CLIENTS, gate
from tests.promises import PATIENCE
from tests.support import Api, FakeAgent, down, eventually, serving, up

EBS0 = "/v1/plugin/csi/ebs0/history"


def rows(api: Api, path: str = EBS0) -> list[dict[str, Any]]:
    answer = api.call("GET", path)
    assert answer.status == 200, answer.text
    found: list[dict[str, Any]] = answer.json
    return found


def events(api: Api, path: str = EBS0) -> list[str]:
    return [row["Event"] for row in rows(api, path)]


@pytest.fixture
def flipped(api: Api, agent: FakeAgent) -> FakeAgent:
    """Return an agent whose driver appeared, failed for two reasons, and came back upgraded."""
    for fingerprint in (
        up(ProviderVersion="1.0"),
        down("disk on fire", ProviderVersion="1.0"),
        down("disk gone", ProviderVersion="1.0"),
        up(ProviderVersion="1.1"),
    ):
        assert agent.report({"ebs0": {"node": fingerprint}}).status == 200
    return agent


def test_all_that_happened_newest_first(api: Api, flipped: FakeAgent) -> None:
    found = rows(api)
    assert {"healthy", "version", "reason", "unhealthy", "appeared"} == {
        row["Event"] for row in found
    }
    kinds = [row["Event"] for row in found if row["Event"] != "version"]
    assert kinds == ["healthy", "reason", "unhealthy", "appeared"]
    reason = next(row for row in found if row["Event"] == "reason")
    assert (reason["Before"], reason["After"]) == ("disk on fire", "disk gone")
    assert reason["Healthy"] is False
    version = next(row for row in found if row["Event"] == "version")
    assert (version["Before"], version["Version"]) == ("1.0", "1.1")
    for row in found:
        assert (row["Type"], row["ID"], row["Role"]) == ("csi", "ebs0", "node")
        assert (row["NodeID"], row["NodeName"]) == (flipped.node_id, flipped.name)
        assert parse_time(row["Since"]) <= parse_time(row["Time"]) <= time.time_ns()
    assert all(newer["Seq"] > older["Seq"] for newer, older in pairwise(found))
    assert all(newer["Index"] >= older["Index"] for newer, older in pairwise(found))
    assert found[0]["Index"] == api.call("GET", "/v1/plugin/csi/ebs0").index
    assert rows(api, f"/v1/node/{flipped.node_id}/history") == found


def test_it_outlives_what_it_is_about(api: Api, flipped: FakeAgent) -> None:
    before = len(rows(api))
    assert api.call("DELETE", f"/v1/node/{flipped.node_id}").status == 200
    assert api.call("GET", "/v1/plugin/csi/ebs0").status == 404
    assert events(api)[0] == "left"
    assert len(rows(api)) == before + 1
    assert rows(api, f"/v1/node/{flipped.node_id}/history") == rows(api)


def test_what_never_was_is_404(api: Api, flipped: FakeAgent) -> None:
    for path, text in (
        ("/v1/plugin/csi/none/history", "plugin not found"),
        ("/v1/plugin/nothing/ebs0/history", "plugin not found"),
        ("/v1/node/11111111-2222-4333-8444-555555555555/history", "node not found"),
    ):
        answer = api.call("GET", path)
        assert (answer.status, answer.text) == (404, text)


def test_a_node_that_goes_down_takes_its_instances_along(api: Api, flipped: FakeAgent) -> None:
    before = len(rows(api))
    api.services.intake.silence([flipped.node_id])
    assert events(api)[:-before] == ["unhealthy"]
    of_node = rows(api, f"/v1/node/{flipped.node_id}/history")
    assert {row["Event"] for row in of_node[:-before]} == {"down", "unhealthy"}
    assert flipped.beat().status == 200
    assert events(api)[0] == "healthy"
    assert "up" in events(api, f"/v1/node/{flipped.node_id}/history")[:2]


@pytest.mark.parametrize("per_page", [1, 2, 3, 5, 100])
def test_pages_give_every_row_once(api: Api, flipped: FakeAgent, per_page: int) -> None:
    whole = rows(api)
    paged, token = [], ""
    while True:
        answer = api.call("GET", f"{EBS0}?per_page={per_page}&next_token={token}")
        assert len(answer.json) <= per_page
        paged += answer.json
        token = answer.headers.get("x-nomad-nexttoken", "")
        if not token:
            break
        # A change in between shifts no page.
        flipped.report({"other": {"node": up()}})
    assert paged == whole


def test_a_page_goes_on_where_too_much_was_looked_at(
    api: Api, flipped: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "LOOKED_AT_MAXIMUM", 2)
    assert LOOKED_AT_MAXIMUM > 1_000
    path = f"{EBS0}?per_page=10&filter=Event+==+%22appeared%22"
    found, token, asked = [], "", 0
    while token or not asked:
        answer = api.call("GET", f"{path}&next_token={token}")
        found += answer.json
        token = answer.headers.get("x-nomad-nexttoken", "")
        asked += 1
    assert [row["Event"] for row in found] == ["appeared"]
    assert asked >= 2


@pytest.mark.parametrize("maximum", [2, 3])
def test_an_answer_that_is_full_says_where_to_go_on(
    api: Api, flipped: FakeAgent, monkeypatch: pytest.MonkeyPatch, maximum: int
) -> None:
    whole = rows(api)
    monkeypatch.setattr(history, "HISTORY_LIMIT", maximum)
    for per_page in ("", "&per_page=1000"):
        found, token = [], ""
        while True:
            answer = api.call("GET", f"{EBS0}?next_token={token}{per_page}")
            assert len(answer.json) <= maximum
            found += answer.json
            token = answer.headers.get("x-nomad-nexttoken", "")
            if not token:
                break
        assert found == whole


def test_filters(api: Api, flipped: FakeAgent) -> None:
    found = rows(api, f"{EBS0}?filter=Event+==+%22unhealthy%22+or+Reason+contains+%22gone%22")
    assert [row["Event"] for row in found] == ["reason", "unhealthy"]
    assert api.call("GET", f"{EBS0}?filter=Nothing+==+1").status == 400


def test_since_and_until(api: Api, flipped: FakeAgent) -> None:
    whole = rows(api)
    middle = whole[2]["Time"]
    later = [row for row in whole if parse_time(row["Time"]) >= parse_time(middle)]
    assert rows(api, f"{EBS0}?since={middle}") == later
    assert rows(api, f"{EBS0}?until={middle}") == whole[len(later) :]
    assert rows(api, f"{EBS0}?since=1h") == whole
    assert rows(api, f"{EBS0}?until=1h") == []
    future = format_time(time.time_ns() + 3600 * SECOND)
    assert rows(api, f"{EBS0}?since={future}") == []


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("since=yesterday", "Invalid since: it is a time"),
        ("until=1", "Invalid until: it is a time"),
        ("next_token=abc", "Invalid next_token"),
        ("next_token=99999999999999999999", "Invalid next_token"),
        ("prefix=e", "prefix and reverse are not for history"),
        ("reverse=true", "prefix and reverse are not for history"),
        ("per_page=-1", "Invalid per_page"),
    ],
)
def test_mistakes(api: Api, flipped: FakeAgent, query: str, text: str) -> None:
    answer = api.call("GET", f"{EBS0}?{query}")
    assert answer.status == 400
    assert answer.text.startswith(text)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(token=st.text(max_size=30))
def test_any_token_is_answered(api: Api, flipped: FakeAgent, token: str) -> None:
    with_percents = "".join(f"%{byte:02x}" for byte in token.encode(errors="replace"))
    assert api.call("GET", f"{EBS0}?next_token={with_percents}").status in (200, 400)


def test_a_query_that_waits_is_woken_by_what_happens(tmp_path: Path) -> None:
    with serving(tmp_path, live=True) as api, ThreadPoolExecutor(2) as pool:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        started = threading.Event()
        paths = [EBS0, f"/v1/node/{agent.node_id}/history"]

        def wait(path: str) -> list[str]:
            index = api.call("GET", path).index
            started.set()
            answer = api.call("GET", f"{path}?index={index}&wait=2m")
            assert answer.index > index
            return [row["Event"] for row in answer.json]

        answers = [pool.submit(wait, path) for path in paths]
        eventually(lambda: api.services.catalogue.parked == 2)
        agent.report({"ebs0": {"node": down()}})
        assert [one.result(PATIENCE) for one in answers] == [["unhealthy", "appeared"]] * 2


def test_no_cache_keeps_it(api: Api, flipped: FakeAgent) -> None:
    answer = api.call("GET", EBS0)
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers


def test_all_that_happened_anywhere(api: Api, flipped: FakeAgent) -> None:
    other = FakeAgent(api, name="vm2")
    other.report({"nfs": {"node": up()}})
    api.services.intake.declare([Declaration(PluginKey("csi", "nfs"), {"node": 3})])
    api.services.intake.silence([other.node_id])
    found = rows(api, "/v1/history")
    assert [row["Seq"] for row in found] == sorted((row["Seq"] for row in found), reverse=True)
    assert [row for row in found if row["ID"] == "ebs0"] == rows(api)
    of_node = rows(api, f"/v1/node/{other.node_id}/history")
    assert [row for row in found if row["NodeID"] == other.node_id] == of_node
    assert [row["Event"] for row in found][:4] == ["unhealthy", "down", "expected", "appeared"]
    assert rows(api, "/v1/history?per_page=2") == found[:2]
    assert api.call("GET", "/v1/history").index == found[0]["Index"]


def test_a_new_server_has_no_history(asked: Api) -> None:
    answer = asked.call("GET", "/v1/history")
    assert (answer.status, answer.json) == (200, [])


@pytest.mark.parametrize("path", ["/v1/history", EBS0])
def test_what_the_plugin_does_not_show_wakes_its_history(tmp_path: Path, path: str) -> None:
    """Declare as many instances as are known, which changes the history but not the plugin."""
    with serving(tmp_path, live=True) as api, ThreadPoolExecutor(1) as pool:
        FakeAgent(api).report({"ebs0": {"node": up()}})
        index = api.call("GET", path).index
        body = api.call("GET", "/v1/plugin/csi/ebs0").index
        waiting = pool.submit(api.call, "GET", f"{path}?index={index}&wait=2m")
        eventually(lambda: api.services.catalogue.parked == 1)
        api.services.intake.declare([Declaration(PluginKey("csi", "ebs0"), {"node": 1})])
        answer = waiting.result(PATIENCE)
        assert answer.index > index
        assert answer.json[0]["Event"] == "expected"
        assert api.call("GET", "/v1/plugin/csi/ebs0").index == body


def test_after_a_restart_a_query_that_waits_for_history_misses_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, live=False) as api:
        FakeAgent(api).report({"ebs0": {"node": up()}})
        known = {path: api.call("GET", path).index for path in ("/v1/history", EBS0)}
        api.services.intake.declare([Declaration(PluginKey("csi", "ebs0"), {"node": 1})])
    config = 'plugin "csi" "ebs0" {\n  nodes_expected = 1\n}\n'
    with serving(tmp_path, live=False, config=config) as api:
        for path, index in known.items():
            answer = api.call("GET", f"{path}?index={index}&wait=1ms")
            assert answer.index > index
            assert answer.json[0]["Event"] == "expected"


SEEN = {
    "csi-read": {"csi"},
    "exec-read": {"exec"},
    "node-read": {""},
    "csi-read and node-read": {"csi", ""},
    "plugin-read": {"csi", "exec"},
    "management": {"csi", "exec", ""},
}
"""The types of the rows that a token may see; "" stands for a node's own rows."""


def test_nothing_of_another_type_or_of_nodes_leaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CLIENTS, "csi-read and node-read", ["csi-read", "node-read"])
    made = gate(tmp_path, *(name for name in SEEN if name != "management"))
    with serving(tmp_path, live=False, config=made.config) as api:
        agent = FakeAgent(api, token=made.secrets["management"])
        agent.report({"ebs0": {"node": up()}})
        body = {"Name": "vm1", "Plugins": {"exec": {"backup": {"check": up()}}}}
        api.call("PUT", f"/v1/node/{agent.node_id}", body, agent.headers)
        api.services.intake.silence([agent.node_id])
        for name, types in SEEN.items():
            answer = api.call("GET", "/v1/history", headers=made.headers(name))
            assert {row["Type"] for row in answer.json} == types, name
            paged, token = [], ""
            while True:
                path = f"/v1/history?per_page=1&next_token={token}"
                answer = api.call("GET", path, headers=made.headers(name))
                paged += answer.json
                if not (token := answer.headers.get("x-nomad-nexttoken", "")):
                    break
            assert {row["Type"] for row in paged} == types, name
