"""Blocking queries: woken only by their own resource, and never parked forever."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from plugind.catalogue.catalogue import SETTLED_MAXIMUM
from tests.promises import PATIENCE, SOON, promised
from tests.support import Answer, Api, FakeAgent, Live, down, eventually, follows, serving, up

LIST = "/v1/plugins?type=csi"


@pytest.fixture
def park(api: Api) -> Iterator[Callable[[str], Future[Answer]]]:
    """Yield a function that sends a blocking read and returns once it is parked."""
    with ThreadPoolExecutor(200) as pool:

        def send(path: str) -> Future[Answer]:
            before = api.services.catalogue.parked
            future = pool.submit(api.call, "GET", path)
            eventually(lambda: api.services.catalogue.parked > before or future.done())
            return future

        yield send
        api.services.wake()


def test_a_list_wakes_on_a_change_of_its_type(
    api: Api, agent: FakeAgent, park: Callable[[str], Future[Answer]]
) -> None:
    agent.report({"ebs0": {"node": up()}})
    first = agent.index
    waiting = park(f"{LIST}&index={first}")
    assert not waiting.done()
    agent.report({"ebs0": {"node": down()}})
    answer = waiting.result(PATIENCE)
    assert answer.index == agent.index
    assert follows(api, answer.index, first)
    assert answer.json[0]["NodesHealthy"] == 0


def test_a_read_wakes_on_its_plugin_and_on_no_other(
    api: Api, agent: FakeAgent, park: Callable[[str], Future[Answer]]
) -> None:
    agent.report({"a": {"node": up()}, "b": {"node": up()}})
    waiting = park(f"/v1/plugin/csi/a?index={agent.index}")
    agent.report({"a": {"node": up()}, "b": {"node": down()}})
    agent.report({"a": {"node": up()}, "b": {"node": up()}, "c": {"node": up()}})
    time.sleep(0.2)  # there is no event for what must not happen
    assert not waiting.done()
    agent.report({"a": {"node": down()}, "b": {"node": up()}, "c": {"node": up()}})
    assert waiting.result(PATIENCE).index == agent.index


def test_a_plugin_that_goes_and_comes_wakes_its_readers(
    api: Api, agent: FakeAgent, park: Callable[[str], Future[Answer]]
) -> None:
    missing = api.call("GET", "/v1/plugin/csi/ebs0")
    waiting = park(f"/v1/plugin/csi/ebs0?index={missing.index}")
    agent.report({"ebs0": {"node": up()}})
    came = waiting.result(PATIENCE)
    assert (came.status, came.index) == (200, agent.index)
    waiting = park(f"/v1/plugin/csi/ebs0?index={came.index}")
    agent.report({"ebs0": {"node": None}})
    went = waiting.result(PATIENCE)
    assert (went.status, went.index) == (404, agent.index)
    assert follows(api, went.index, came.index)
    waiting = park(f"/v1/plugin/csi/ebs0?index={went.index}")
    agent.report({"ebs0": {"node": up()}})
    assert waiting.result(PATIENCE).status == 200


def test_a_missing_plugin_waits_through_the_changes_of_others(
    api: Api, agent: FakeAgent, park: Callable[[str], Future[Answer]]
) -> None:
    missing = api.call("GET", "/v1/plugin/csi/none")
    waiting = park(f"/v1/plugin/csi/none?index={missing.index}&wait=2s")
    agent.report({"other": {"node": up()}})  # within that time
    answer = waiting.result(PATIENCE)
    assert (answer.status, answer.index) == (404, agent.index)


def test_nodes_wake(api: Api, agent: FakeAgent, park: Callable[[str], Future[Answer]]) -> None:
    agent.report({"ebs0": {"node": up()}})
    index, other = agent.index, FakeAgent(api, name="vm2")
    nodes = park(f"/v1/nodes?index={index}")
    node = park(f"/v1/node/{agent.node_id}?index={index}")
    other.report({})
    assert nodes.result(PATIENCE).index == other.index > index
    assert not node.done()
    agent.report({"ebs0": {"node": down()}})
    assert node.result(PATIENCE).index == agent.index


def test_a_timeout_brings_the_current_state(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": up()}})
    before = time.monotonic()
    with promised(SOON):
        answer = api.call("GET", f"{LIST}&index={agent.index}&wait=200ms")
    assert time.monotonic() - before >= 0.2
    assert (answer.status, answer.index, len(answer.json)) == (200, agent.index, 1)
    assert api.call("GET", f"/v1/plugin/csi/none?index={agent.index}&wait=50ms").status == 404


@pytest.mark.parametrize("index", [0, 1, 99, 2**64 - 1])
def test_indexes_that_are_answered_at_once(api: Api, agent: FakeAgent, index: int) -> None:
    """Check a past index, and one that this store has not reached yet."""
    agent.report({"ebs0": {"node": up()}})
    for path in (f"{LIST}&index={index}", f"/v1/plugin/csi/ebs0?index={index}"):
        with promised(SOON):
            assert api.call("GET", f"{path}&wait=5m").index == agent.index


def test_a_removal_is_remembered_and_then_known_only_to_be_past(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        agent.report({"a": {"node": up()}})
        first = agent.index
        agent.report({"a": {"node": None}, "b": {"node": up()}})
        gone = agent.index
        agent.report({"a": {"node": None}, "b": {"node": down()}})
        with promised(SOON):
            quick = api.call("GET", f"/v1/plugin/csi/a?index={first}&wait=5m")
        assert (quick.status, quick.index) == (404, agent.index)
    with serving(tmp_path, live=False) as api:
        # This process did not see the removal; the store's index is all it can know of.
        with promised(SOON):
            quick = api.call("GET", f"/v1/plugin/csi/a?index={gone}&wait=5m")
        assert (quick.status, quick.index) == (404, agent.index)
        before = time.monotonic()
        api.call("GET", f"/v1/plugin/csi/a?index={agent.index}&wait=200ms")
        assert time.monotonic() - before >= 0.2


def test_indexes_go_on_after_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        agent.report({"a": {"node": up()}})
        body = api.call("GET", "/v1/plugin/csi/a").body
    with serving(tmp_path, live=False) as api:
        assert api.call("GET", "/v1/plugin/csi/a").body == body
        again = FakeAgent(api, agent.node_id, digest=agent.digest)
        assert again.beat().status == 200, "a restart of the server asks for no report"
        assert again.report({"a": {"node": up()}}).json["Index"] == agent.index
        assert again.report({"a": {"node": down()}}).status == 200
        assert follows(api, again.index, agent.index)


def test_beyond_the_cap_is_429_and_plain_reads_go_on(tmp_path: Path) -> None:
    with serving(tmp_path, live=True, server_max_parked="3") as api, ThreadPoolExecutor(3) as pool:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        first = agent.index
        waiting = [pool.submit(api.call, "GET", f"{LIST}&index={first}") for _ in range(3)]
        eventually(lambda: api.services.catalogue.parked == 3)
        refused = api.call("GET", f"{LIST}&index={first}")
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert api.call("GET", LIST).status == 200
        assert api.call("GET", f"{LIST}&index={first - 1}").status == 200, "it need not wait"
        agent.report({"ebs0": {"node": down()}})
        assert {future.result(PATIENCE).index for future in waiting} == {agent.index}
        eventually(lambda: api.services.catalogue.parked == 0)


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/plugins", 200), ("/v1/namespaces", 200), ("/v1/plugin/no/x", 404)]
)
def test_queries_of_resources_that_never_change_take_no_other_ones_place(
    tmp_path: Path, path: str, status: int
) -> None:
    """Check that such queries wait, up to their own limit, and leave places for others."""
    with serving(tmp_path, live=True, server_max_parked="1") as api, ThreadPoolExecutor(9) as pool:
        agent, other = FakeAgent(api), FakeAgent(api, name="vm2")
        agent.report({"ebs0": {"node": up()}})
        query = f"{path}?index={agent.index}"
        settled = [pool.submit(api.call, "GET", query) for _ in range(SETTLED_MAXIMUM)]
        eventually(lambda: api.services.catalogue.parked == SETTLED_MAXIMUM)
        assert api.call("GET", query).status == 429
        news = pool.submit(api.call, "GET", f"{LIST}&index={agent.index}")
        eventually(lambda: api.services.catalogue.parked == SETTLED_MAXIMUM + 1)
        other.report({"ebs0": {"node": up()}})
        assert news.result(PATIENCE).index == other.index
        api.services.wake()
        assert {future.result(PATIENCE).status for future in settled} == {status}


def test_a_client_that_goes_away_frees_its_place(tmp_path: Path) -> None:
    with serving(tmp_path, live=True, server_max_parked="2") as api:
        assert isinstance(api, Live)
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        where = urlsplit(api.address)
        clients = []
        for _ in range(2):
            client = socket.create_connection((where.hostname, where.port))
            path = f"{LIST}&index={agent.index}&wait=5m"
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            clients.append(client)
        eventually(lambda: api.services.catalogue.parked == 2)
        for client in clients:
            client.close()
        eventually(lambda: api.services.catalogue.parked == 0)


def test_150_parked_queries_do_not_slow_a_plain_one(tmp_path: Path) -> None:
    """Measure processor time, which sleeping threads do not use, instead of elapsed time."""
    with serving(tmp_path, live=True) as api, ThreadPoolExecutor(150) as pool:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})

        def cost() -> float:
            before = time.process_time()
            for _ in range(50):
                assert api.call("GET", LIST).status == 200
            return time.process_time() - before

        cost()
        alone = cost()
        path = f"{LIST}&index={agent.index}"
        waiting = [pool.submit(api.call, "GET", path) for _ in range(150)]
        eventually(lambda: api.services.catalogue.parked == 150)
        crowded = cost()
        agent.report({"ebs0": {"node": down()}})
        assert {future.result(PATIENCE).index for future in waiting} == {agent.index}
        assert crowded < 3 * alone + 0.1


def test_shutdown_wakes_every_query(tmp_path: Path) -> None:
    with ThreadPoolExecutor(20) as pool:
        with serving(tmp_path, live=True) as api:
            agent = FakeAgent(api)
            agent.report({"ebs0": {"node": up()}})
            path = f"{LIST}&index={agent.index}"
            waiting = [pool.submit(api.call, "GET", path) for _ in range(20)]
            eventually(lambda: api.services.catalogue.parked == 20)
        assert {future.result(PATIENCE).status for future in waiting} == {200}
    assert not [t for t in threading.enumerate() if t.name in ("http", "intake", "liveness")]
