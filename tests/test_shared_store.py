"""Several processes on one store: each answers for all, and one of them marks nodes as down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from plugind.errors import StoreError
from plugind.model import Contact
from plugind.store.base import Heard
from plugind.testing.stores import Wrapped
from tests.promises import SOON
from tests.support import Api, FakeAgent, eventually, serving, up

TTL = 1.0
FEW = {"server_max_parked": "5", "server_max_reports": "5"}


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Api, Api]]:
    """Return two servers that have nothing but the store in common."""
    options: dict[str, Any] = {"live": False, "shared": True, **FEW}
    with serving(tmp_path, **options) as one, serving(tmp_path, **options) as other:
        yield one, other


def status(api: Api, agent: FakeAgent) -> str:
    return api.call("GET", f"/v1/node/{agent.node_id}").json["Status"]


def is_cloned(api: Api, agent: FakeAgent) -> bool:
    return bool(api.services.feed.refresh().nodes[agent.node_id].cloned_since)


def test_what_one_acknowledged_the_other_answers_at_once(two: tuple[Api, Api]) -> None:
    one, other = two
    agents = FakeAgent(one), FakeAgent(other)
    for number in range(30):
        index = agents[number % 2].report({f"ebs{number}": {"node": up()}}).json["Index"]
        for api in two:
            answer = api.call("GET", "/v1/plugins?type=csi")
            assert answer.index >= index
            assert f"ebs{number}" in [row["ID"] for row in answer.json]
            assert api.call("GET", "/v1/problems").index >= index


def test_a_heartbeat_to_another_server_than_the_report_is_taken(two: tuple[Api, Api]) -> None:
    one, other = two
    agent = FakeAgent(one)
    for number in range(10):
        agent.api = one if number % 2 else other
        assert agent.report({"ebs0": {"node": up(number=str(number))}}).status == 200
        agent.api = other if number % 2 else one
        assert agent.beat().status == 200


@pytest.mark.alone
def test_a_node_that_one_server_hears_is_up_on_both(tmp_path: Path) -> None:
    with ExitStack() as until_end:
        two = [
            until_end.enter_context(
                serving(tmp_path, live=False, shared=True, server_heartbeat_ttl=f"{TTL}s", **FEW)
            )
            for _ in range(2)
        ]
        agents = [FakeAgent(api, name=f"n{number}") for number, api in enumerate(two)]
        for agent in agents:
            agent.report({"ebs0": {"node": up()}})
        index = two[0].call("GET", "/v1/nodes").index
        end = time.monotonic() + 3 * TTL
        while time.monotonic() < end:
            assert {agent.beat().status for agent in agents} == {200}
            assert {status(api, agent) for api in two for agent in agents} == {"ready"}
            time.sleep(TTL / 5)
        assert two[1].call("GET", "/v1/nodes").index == index, "a node was down in between"
        eventually(lambda: {status(api, agent) for api in two for agent in agents} == {"down"})


def test_another_server_takes_the_duty_over(tmp_path: Path) -> None:
    options = {"server_heartbeat_ttl": f"{TTL}s", **FEW}
    with ExitStack() as until_end:
        first = ExitStack()
        one = first.enter_context(serving(tmp_path, live=False, shared=True, **options))
        agent = FakeAgent(one)
        assert agent.report({"ebs0": {"node": up()}}).status == 200
        assert one.services.store.has_duty()
        other = until_end.enter_context(serving(tmp_path, live=False, shared=True, **options))
        assert not other.services.store.has_duty()
        first.close()
        eventually(lambda: status(other, agent) == "down", within=SOON)


@pytest.mark.alone
def test_two_agents_of_one_node_are_noticed_on_different_servers(tmp_path: Path) -> None:
    options = {"server_heartbeat_ttl": f"{TTL}s", **FEW}
    with ExitStack() as until_end:
        two = [
            until_end.enter_context(serving(tmp_path, live=False, shared=True, **options))
            for _ in range(2)
        ]
        agent = FakeAgent(two[0])
        agent.report({"ebs0": {"node": up()}}, RunID="a")
        twin = FakeAgent(two[1], node_id=agent.node_id)

        def are_known() -> bool:
            agent.report({"ebs0": {"node": up()}}, RunID="a")
            twin.report({"ebs0": {"node": up()}}, RunID="b")
            return all(is_cloned(api, agent) for api in two)

        eventually(are_known, every=TTL / 4)
        index = two[0].call("GET", f"/v1/node/{agent.node_id}").index
        end = time.monotonic() + TTL
        while time.monotonic() < end:
            assert are_known()
            time.sleep(TTL / 4)
        assert two[1].call("GET", f"/v1/node/{agent.node_id}").index == index, "it was taken back"


def test_a_restarted_agent_that_changes_servers_is_no_clone(two: tuple[Api, Api]) -> None:
    agent = FakeAgent(two[0])
    agent.report({"ebs0": {"node": up()}}, RunID="a")
    agent.beat(run_id="a")
    agent.api = two[1]
    agent.report({"ebs0": {"node": up()}}, RunID="b")
    # The heartbeat that the first server received reaches the store late.
    two[0].services.liveness.close()
    eventually(lambda: len(two[1].services.store.heard(0).beats) >= 1)
    two[1].services.liveness.close()
    assert agent.beat(run_id="b").status == 200
    assert not is_cloned(two[1], agent)


class _Away(Wrapped):
    """A store shared by several servers, currently unreachable."""

    has_other_servers = True

    @property
    def contact(self) -> Contact:
        return Contact(is_known=False, age=1.5)

    @property
    def is_shared(self) -> bool:
        return True

    def newest(self) -> int:
        raise StoreError("etcd: no endpoint answers")

    def heard(self, after: int) -> Heard:
        raise StoreError("etcd: no endpoint answers")


def test_a_store_out_of_reach_leaves_stale_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        index = agent.report({"ebs0": {"node": up()}}).json["Index"]
        path = "/v1/plugin/csi/ebs0"
        inner = api.services.store
        away = _Away.__new__(_Away)
        away.inner = inner
        monkeypatch.setattr(api.services.feed, "_store", away)
        answer = api.call("GET", path)
        assert (answer.status, answer.text) == (503, "etcd: no endpoint answers")
        answer = api.call("GET", f"{path}?stale")
        assert (answer.status, answer.index) == (200, index)
        assert answer.headers["x-nomad-knownleader"] == "false"
        assert answer.headers["x-nomad-lastcontact"] == "1500"
        assert api.call("GET", f"{path}?index={index}&wait=50ms").status == 503
        for after in (index, index + 1):
            answer = api.call("GET", f"{path}?stale&index={after}&wait=50ms")
            assert (answer.status, answer.index) == (200, index)
        assert api.call("GET", "/v1/problems").status == 503
        answer = agent.beat()
        assert (answer.status, "another server" in answer.text) == (503, True)
        monkeypatch.undo()
        assert agent.beat().status == 200
        assert api.call("GET", path).headers["x-nomad-knownleader"] == "true"
