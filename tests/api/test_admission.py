"""Reports that are refused for now: which agents must come again, and what health says."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from plugind.intake.admission import LARGE_BYTES
from plugind.serve.channel import Channel
from plugind.serve.tasks import REPORTERS
from tests.promises import PATIENCE, SOON
from tests.support import WAITRESS, Api, FakeAgent, down, eventually, serving, up


@pytest.fixture(params=["in process", WAITRESS, "granian"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    is_live = request.param != "in process"
    http = request.param if is_live else WAITRESS
    with serving(
        tmp_path, live=is_live, http=http, server_max_reports="2", server_max_large_reports="1"
    ) as made:
        yield made


@pytest.fixture
def agent(api: Api) -> FakeAgent:
    made = FakeAgent(api)
    assert made.report({"ebs0": {"node": up()}}).status == 200
    return made


def test_a_second_report_of_a_node_has_to_come_again(api: Api, agent: FakeAgent) -> None:
    with api.services.admission.entered("t", agent.node_id, agent.secret):
        answer = agent.report({"ebs0": {"node": down()}})
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert answer.text == "another report of the node is in work; try again later"
        assert agent.beat().status == 200
        assert FakeAgent(api).report({"ebs0": {"node": up()}}).status == 200
    assert agent.report({"ebs0": {"node": down()}}).status == 200


def test_a_wrong_secret_is_refused_before_the_body_is_looked_at(api: Api, agent: FakeAgent) -> None:
    headers = {"X-Plugind-Node-Secret": "wrong"}
    with api.services.admission.entered("t", agent.node_id, agent.secret):
        answer = api.call("PUT", f"/v1/node/{agent.node_id}", b"no JSON", headers)
    assert answer.status == 403


def test_beyond_the_places_is_503_and_keeps_the_node_alive(api: Api, agent: FakeAgent) -> None:
    heard: list[str] = []
    liveness = api.services.liveness
    beat = liveness.beat
    liveness.beat = lambda node_id: heard.append(node_id) or beat(node_id)  # type: ignore
    with api.services.admission.entered("127.0.0.1", "another", "s"):
        answer = agent.report({"ebs0": {"node": down()}})
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "private" in answer.headers["cache-control"], "an agent takes it for a proxy's"
    assert heard == [agent.node_id]
    hits = api.services.hits.counts
    assert hits == {"max_reports": 1}


@pytest.mark.parametrize("trusted", ["127.0.0.0/8", "192.0.2.0/24"])
def test_places_are_those_of_the_address_that_a_trusted_proxy_names(
    tmp_path: Path, trusted: str
) -> None:
    config = f'server {{ trusted_proxies = ["{trusted}"] }}\n'
    with serving(tmp_path, live=True, config=config, server_max_reports="2") as api:
        headers = {"X-Plugind-Node-Secret": "s", "X-Forwarded-For": "198.51.100.1"}

        def report_beside(client: str) -> int:
            body = {"Name": "vm", "Plugins": {}}
            path = f"/v1/node/{uuid.uuid4()}"
            with api.services.admission.entered(client, "another", "s"):
                return api.call("PUT", path, body, headers).status

        is_trusted = trusted.startswith("127")
        assert report_beside("127.0.0.1") == (200 if is_trusted else 503)
        assert report_beside("198.51.100.1") == (503 if is_trusted else 200)


def large_body() -> dict[str, Any]:
    filler = {"NodeInfo": {"ID": "x" * 200}}
    return {f"p{number}": {"node": up(**filler)} for number in range(LARGE_BYTES // 200)}


def test_a_large_report_waits_for_its_turn_and_small_ones_do_not(
    api: Api, agent: FakeAgent
) -> None:
    other, admission = FakeAgent(api), api.services.admission
    many = {f"p{number}": {"node": up()} for number in range(256)}
    with ThreadPoolExecutor(1) as pool:
        for plugins in (large_body(), many):
            with admission.entered("t", "another", "s") as entry:
                entry.become_large()
                report = pool.submit(other.report, plugins)
                eventually(lambda: len(admission._turns) == 1)
                assert agent.report({"ebs0": {"node": up()}}).status == 200
                assert not report.done()
            assert report.result(PATIENCE).status == 200
    assert json.loads(agent.beat().body)["Index"]


@pytest.mark.parametrize("http", ["granian", "uvicorn"])
def test_reports_hold_no_thread_of_an_asgi_server_while_they_are_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, http: str
) -> None:
    may_commit, count = threading.Event(), 3 * REPORTERS
    with serving(tmp_path, live=True, http=http) as api, ThreadPoolExecutor(count) as pool:
        store, intake = api.services.store, api.services.intake
        commit = store.commit
        monkeypatch.setattr(
            store, "commit", lambda changes: (may_commit.wait(PATIENCE), commit(changes))[1]
        )
        agents, reports = [FakeAgent(api) for _ in range(count)], []
        for each in agents:
            reports.append(pool.submit(each.report, {"ebs0": {"node": up()}}))
            eventually(lambda: intake._writer._committing_at)  # the others wait behind the first
        eventually(lambda: intake.waiting[0] >= count)
        names = [each.name for each in threading.enumerate()]
        assert 0 < sum(name.startswith("reporter ") for name in names) <= REPORTERS
        may_commit.set()
        assert [each.result(PATIENCE).status for each in reports] == [200] * count
        assert all(each.beat().status == 200 for each in agents)


@pytest.mark.parametrize("http", ["granian", "uvicorn"])
def test_heartbeats_that_take_nodes_back_wait_for_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, http: str
) -> None:
    monkeypatch.setattr("plugind.serve.pool.LONG", 600.0)  # waiting requests start no thread
    may_commit, count = threading.Event(), 3 * REPORTERS
    with serving(tmp_path, live=True, http=http) as api, ThreadPoolExecutor(count) as pool:
        agents = [FakeAgent(api) for _ in range(count)]
        for each in agents:
            assert each.report({"ebs0": {"node": up()}}).status == 200
        store, intake = api.services.store, api.services.intake
        intake.silence([each.node_id for each in agents])
        commit = store.commit
        monkeypatch.setattr(
            store, "commit", lambda changes: (may_commit.wait(PATIENCE), commit(changes))[1]
        )
        beats = []
        for each in agents:
            beats.append(pool.submit(each.beat))
            eventually(lambda: intake._writer._committing_at)  # the others wait behind the first
        try:
            eventually(lambda: intake.waiting[0] >= count, within=SOON)
        finally:
            may_commit.set()
        assert [each.result(PATIENCE).status for each in beats] == [200] * count


def test_a_report_keeps_its_place_among_pipelined_requests_until_it_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[Channel] = []
    monkeypatch.setattr(Channel, "waits", lambda channel: waiting.append(channel))
    with serving(tmp_path, live=True) as api:
        agent = FakeAgent(api)
        for plugins in ({"ebs0": {"node": up()}}, large_body()):
            assert agent.report(plugins).status == 200
    assert not waiting


@pytest.mark.parametrize("http", [WAITRESS, "granian", "uvicorn"])
def test_a_report_whose_turn_does_not_come_in_time_has_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, http: str
) -> None:
    may_commit = threading.Event()
    with (
        serving(tmp_path, live=True, http=http, server_write_timeout="1s") as api,
        ThreadPoolExecutor(2) as pool,
    ):
        store, intake = api.services.store, api.services.intake
        commit = store.commit
        monkeypatch.setattr(
            store, "commit", lambda changes: (may_commit.wait(PATIENCE), commit(changes))[1]
        )
        first = pool.submit(FakeAgent(api).report, {"ebs0": {"node": up()}})
        eventually(lambda: intake._writer._committing_at is not None)
        second = pool.submit(FakeAgent(api).report, {"ebs0": {"node": up()}})
        for asked, text in (
            (first, "has not answered within 1 s"),
            (second, "nothing was written"),
        ):
            answer = asked.result(PATIENCE)
            assert answer.status == 503
            assert text in answer.text
        may_commit.set()


def test_health_says_for_how_long_changes_have_waited(
    api: Api, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_commit, store = threading.Event(), api.services.store
    commit = store.commit
    monkeypatch.setattr("plugind.serve.conditions._LATE", 0.1)
    monkeypatch.setattr("plugind.intake.writer.SLOW", 300.0)  # otherwise health would fail
    monkeypatch.setattr(
        store, "commit", lambda changes: (may_commit.wait(PATIENCE), commit(changes))[1]
    )

    def message() -> str:
        answer = api.call("GET", "/v1/agent/health")
        assert answer.status == 200
        return str(answer.json["server"]["message"])

    with ThreadPoolExecutor(1) as pool:
        report = pool.submit(agent.report, {"ebs0": {"node": down()}})
        # Changes of the server's own, such as when nodes were last heard, may wait behind it.
        eventually(lambda: re.search(r"the oldest of \d+ changes has waited", message()))
        may_commit.set()
        assert report.result(PATIENCE).status == 200
    assert message() == "ok"


def test_a_body_that_comes_with_a_request_for_the_root(tmp_path: Path) -> None:
    """Check the head of such a request, though the root is no endpoint of the API."""
    with serving(tmp_path, live=True) as api:
        headers = {"Transfer-Encoding": "chunked"}
        assert api.call("GET", "/", b"1\r\nx\r\n0\r\n\r\n", headers).status == 200
        assert api.call("GET", "/", bytes(17 * 2**10)).status == 413
