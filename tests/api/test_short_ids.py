"""IDs as Nomad's command line shortens them: to 8 characters, and to 36 with -verbose."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.gate import MANAGEMENT, gate
from tests.promises import PATIENCE
from tests.support import Answer, Api, FakeAgent, eventually, serving, up

LONG = "mock-plugin-of-a-name-that-is-longer-than-36"


def fill(agent: FakeAgent, *ids: str, type_: str = "csi", role: str = "node") -> None:
    plugins = {type_: {id_: {role: up()} for id_ in ids}}
    assert agent.report({}, Plugins=plugins).status == 200


def read(api: Api, id_: str, query: str = "", method: str = "GET") -> Answer:
    return api.call(method, f"/v1/plugin/csi/{id_}{query}")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("whole", ["mock-plugin0", LONG])
def test_an_id_that_was_cut_stands_for_the_only_one_that_begins_so(
    api: Api, agent: FakeAgent, whole: str, method: str
) -> None:
    fill(agent, whole, "hostpath-plugin0")
    for cut in {whole[:8], whole[:36]}:
        got, wanted = read(api, cut, method=method), read(api, whole, method=method)
        assert (got.status, got.body) == (200, wanted.body), cut
        assert (got.index, got.headers["etag"]) == (wanted.index, wanted.headers["etag"])
    if method == "GET":
        assert read(api, whole[:8]).json["ID"] == whole


def test_nothing_else_is_guessed(api: Api, agent: FakeAgent) -> None:
    fill(agent, "mock-plugin0", LONG.replace("mock", "fake"))
    for other in ("mock", "mock-pl", "mock-plug", "MOCK-PLU", "plugin0x", LONG[:35], LONG[:37]):
        answer = read(api, other)
        assert (answer.status, answer.text) == (404, "plugin not found"), other


def test_the_plugin_of_that_very_id_comes_first(api: Api, agent: FakeAgent) -> None:
    fill(agent, "mock-plu", "mock-plugin0")
    assert read(api, "mock-plu").json["ID"] == "mock-plu"


def test_an_ambiguous_id_means_no_plugin(api: Api, agent: FakeAgent) -> None:
    fill(agent, "mock-plugin0", "mock-plugin1")
    assert read(api, "mock-plu").status == 404


def test_a_plugin_that_is_only_declared_counts(tmp_path: Path) -> None:
    config = 'plugin "csi" "mock-plugin0" {\n  nodes_expected = 1\n}\n'
    with serving(tmp_path, live=False, config=config) as api:
        assert read(api, "mock-plu").json["ID"] == "mock-plugin0"
        fill(FakeAgent(api), "mock-plugin0")
        assert read(api, "mock-plu").json["NodesHealthy"] == 1, "one plugin, not two"


def test_plugins_of_other_types_do_not_count(api: Api, agent: FakeAgent) -> None:
    checks = {"exec": {"mock-plugin1": {"check": up()}}, "csi": {"mock-plugin0": {"node": up()}}}
    assert agent.report({}, Plugins=checks).status == 200
    assert read(api, "mock-plu").json["ID"] == "mock-plugin0"
    other = api.call("GET", "/v1/plugin/exec/mock-plu")
    assert other.json["ID"] == "mock-plugin1"


def test_a_forget_is_exact(api: Api, agent: FakeAgent) -> None:
    fill(agent, "mock-plugin0")
    assert read(api, "mock-plu", method="DELETE").status == 404
    assert read(api, "mock-plugin0").status == 200
    for method in ("PUT", "POST", "OPTIONS"):
        assert read(api, "mock-plu", method=method).status == 405


def test_in_the_shape_of_the_document_too(tmp_path: Path) -> None:
    with serving(tmp_path, live=False, wire="document") as api:
        fill(FakeAgent(api), "mock-plugin0")
        assert read(api, "mock-plu").json == read(api, "mock-plugin0").json


def test_a_short_id_needs_the_right_that_the_whole_one_needs(tmp_path: Path) -> None:
    made = gate(tmp_path, "csi-read", "csi-list", "node-read")
    with serving(tmp_path, live=False, config=made.config) as api:
        fill(FakeAgent(api, token=made.secrets[MANAGEMENT]), "mock-plugin0")
        for name, status in (("csi-read", 200), ("csi-list", 403), ("node-read", 403)):
            for id_ in ("mock-plugin0", "mock-plu"):
                answer = api.call("GET", f"/v1/plugin/csi/{id_}", headers=made.headers(name))
                assert answer.status == status, (name, id_)


class Waiter(threading.Thread):
    """A blocking query on an ID, in its own thread."""

    def __init__(self, api: Api, id_: str, index: int) -> None:
        super().__init__(daemon=True)
        self._ask = lambda: read(api, id_, f"?index={index}&wait=5m")
        self._parked = lambda: api.services.catalogue.parked
        self.answers: list[Any] = []

    def run(self) -> None:
        self.answers.append(self._ask())

    def answer(self) -> Answer:
        self.join(PATIENCE)
        (answer,) = self.answers
        return answer


@pytest.fixture
def wait(api: Api) -> Iterator[Any]:
    def start(id_: str, index: int) -> Waiter:
        waiter = Waiter(api, id_, index)
        before = api.services.catalogue.parked
        waiter.start()
        eventually(lambda: api.services.catalogue.parked > before)
        return waiter

    yield start
    api.services.wake()


def test_a_blocking_query_wakes_with_the_whole_plugin_and_with_no_other(
    api: Api, agent: FakeAgent, wait: Any
) -> None:
    fill(agent, "mock-plugin0", "other")
    waiter = wait("mock-plu", read(api, "mock-plu").index)
    assert agent.report({"mock-plugin0": {"node": up()}}).status == 200  # "other" is missing
    agent.report({"mock-plugin0": {"node": up()}, "other": {"node": up()}})
    assert waiter.is_alive()
    assert agent.report({"mock-plugin0": {"node": up(), "controller": up()}}).status == 200
    answer = waiter.answer()
    assert (answer.status, answer.json["ControllersHealthy"]) == (200, 1)


@pytest.mark.parametrize("whole", ["mock-plugin0", LONG])
def test_a_query_that_waits_for_a_plugin_to_come_wakes_by_its_short_id(
    api: Api, agent: FakeAgent, wait: Any, whole: str
) -> None:
    fill(agent, "other")
    cut = whole[:36] if len(whole) > 36 else whole[:8]
    missing = read(api, cut)
    assert missing.status == 404
    waiter = wait(cut, missing.index)
    fill(agent, "other", "another")
    assert waiter.is_alive(), "another plugin came"
    fill(agent, "other", "another", whole)
    assert waiter.answer().json["ID"] == whole


def test_an_id_that_means_one_of_two_no_longer_wakes(api: Api, agent: FakeAgent, wait: Any) -> None:
    fill(agent, "mock-plugin0", "mock-plugin1")
    missing = read(api, "mock-plu")
    waiter = wait("mock-plu", missing.index)
    assert agent.report({"mock-plugin0": {"node": None}, "mock-plugin1": {"node": up()}}).status
    answer = waiter.answer()
    assert (answer.status, answer.json["ID"]) == (200, "mock-plugin1")


def test_an_old_index_on_a_cut_id_is_answered_at_once(api: Api, agent: FakeAgent) -> None:
    missing = read(api, "mock-plu")
    fill(agent, "mock-plugin0")
    assert read(api, "mock-plu", f"?index={missing.index}&wait=5m").json["ID"] == "mock-plugin0"
