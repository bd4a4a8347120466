"""Servers on etcd: they answer as on any other store, and on behalf of each other."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from plugind.api.repeats import Repeats
from tests.promises import SOON, promised
from tests.store.etcd.members import Member, members, paused
from tests.support import Api, FakeAgent, down, eventually, serving, up

Servers = Callable[..., AbstractContextManager[Api]]


@pytest.fixture
def server(etcd: Member, tmp_path: Path) -> Servers:
    """Yield a function that runs a server on the same store, each with its own folder."""
    return servers(tmp_path, etcd.address)


def servers(tmp_path: Path, *addresses: str) -> Servers:
    prefix = f"test/{uuid.uuid4().hex[:8]}"
    endpoints = ", ".join(f'"{each}"' for each in addresses)
    config = f'store "etcd" {{\n  endpoints = [{endpoints}]\n  prefix = "{prefix}"\n}}\n'

    @contextmanager
    def run(name: str = "one", **flags: str) -> Iterator[Api]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        with serving(folder, live=True, config=config, **flags) as api:
            yield api

    return run


def plugin_ids(api: Api, query: str = "") -> list[str]:
    answer = api.call("GET", f"/v1/plugins?type=csi{query}")
    assert answer.status == 200, answer.text
    return [row["ID"] for row in answer.json]


def test_a_server_keeps_its_catalogue_in_etcd(server: Servers) -> None:
    with server() as api:
        agent = FakeAgent(api)
        index = agent.report({"ebs0": {"node": up()}}).json["Index"]
        assert plugin_ids(api) == ["ebs0"]
        assert agent.beat().status == 200
        read = api.call("GET", "/v1/plugin/csi/ebs0")
        assert (read.status, read.index) == (200, index)
        assert api.call("GET", "/v1/plugin/csi/ebs0/history").json
    with server("two") as api:
        assert plugin_ids(api) == ["ebs0"]
        assert api.call("GET", "/v1/plugin/csi/ebs0").index == index
        assert api.call("GET", "/v1/plugin/csi/ebs0/history").json


def test_servers_answer_for_each_other_at_once(server: Servers) -> None:
    with server("one") as one, server("two") as two:
        agents = FakeAgent(one), FakeAgent(two)
        for number in range(30):
            index = agents[number % 2].report({f"ebs{number}": {"node": up()}}).json["Index"]
            for api in (one, two):
                answer = api.call("GET", "/v1/plugins?type=csi")
                assert answer.index >= index
                assert f"ebs{number}" in [row["ID"] for row in answer.json]


def test_servers_give_transitions_the_same_numbers(server: Servers) -> None:
    path = "/v1/plugin/csi/ebs0/history"
    with server("one") as one:
        agent = FakeAgent(one)
        for number in range(5):
            agent.report({"ebs0": {"node": up() if number % 2 else down()}})
        with server("two") as two:
            for number in range(5):
                agent.report({"ebs0": {"node": up() if number % 2 else down()}})
            plugin_ids(two)
            assert len(one.call("GET", path).json) > 5
            assert one.call("GET", path).body == two.call("GET", path).body


def test_a_node_that_nobody_hears_is_down_on_all_servers(server: Servers) -> None:
    ttl = {"server_heartbeat_ttl": "1s"}
    with server("one", **ttl) as one, server("two", **ttl) as two:
        agent = FakeAgent(one)
        agent.report({"ebs0": {"node": up()}})
        path = f"/v1/node/{agent.node_id}"
        for api in (one, two):
            eventually(lambda api=api: api.call("GET", path).json["Status"] == "down")


def test_a_default_read_fails_while_etcd_is_away_and_a_stale_one_does_not(tmp_path: Path) -> None:
    with members() as (member,), servers(tmp_path, member.address)() as api:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        with paused(member):
            with promised(SOON):
                answer = api.call("GET", "/v1/plugins?type=csi")
            assert answer.status == 503
            assert "etcd does not answer" in answer.text
            assert agent.report({"ebs1": {"node": up()}}).status == 503
            assert plugin_ids(api, "&stale") == ["ebs0"]
            eventually(
                lambda: (
                    api.call("GET", "/v1/plugins?type=csi&stale").headers["x-nomad-knownleader"]
                    == "false"
                )
            )
            health = api.call("GET", "/v1/agent/health")
            assert "etcd" in health.text
        eventually(lambda: agent.report({"ebs2": {"node": up()}}).status == 200)
        eventually(lambda: "ebs2" in api.call("GET", "/v1/plugins?type=csi").text)


def test_only_stale_reads_are_given_again(server: Servers) -> None:
    """Repeat kept answers for stale reads only: for others etcd, which is remote, must be asked."""
    with (
        server() as api,
        patch.object(Repeats, "given", autospec=True, side_effect=Repeats.given) as again,
    ):
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        for number in range(3):
            assert plugin_ids(api) == ["ebs0"]
            assert (again.call_count, api.services.catalogue.answers.bytes) == (0, 0), number
        for number in range(3):
            assert plugin_ids(api, "&stale") == ["ebs0"]
            assert again.call_count == number
