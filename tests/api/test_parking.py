"""Places for blocking queries on a live server: how many a client may hold, and when they are
freed."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.api.gate import MANAGEMENT, Gate, gate
from tests.promises import PATIENCE, promised
from tests.support import Answer, Api, FakeAgent, Live, down, eventually, serving, up

LIST = "/v1/plugins?type=csi"
CLIENT, PROXY = "203.0.113.7", "198.51.100.1"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as made:
        yield made


def wait_for_news(api: Api) -> str:
    """Return the path of a query that waits for the next change."""
    return f"{LIST}&index={api.services.catalogue.index}&wait=5m"


def park(
    pool: ThreadPoolExecutor, api: Api, headers: dict[str, str] | None = None
) -> Future[Answer]:
    """Send a query that should wait; return once it waits or has an answer."""
    before = api.services.catalogue.parked
    future = pool.submit(api.call, "GET", wait_for_news(api), None, headers)
    eventually(lambda: future.done() or api.services.catalogue.parked > before)
    return future


@pytest.fixture
def made(tmp_path: Path) -> Gate:
    return gate(tmp_path, "plugin-read", "csi-list")


def test_a_token_holds_its_share_and_another_finds_the_rest(
    tmp_path: Path, made: Gate, pool: ThreadPoolExecutor
) -> None:
    with serving(tmp_path, live=True, config=made.config, server_max_parked="4") as api:
        agent = FakeAgent(api, token=made.secrets[MANAGEMENT])
        agent.report({"ebs0": {"node": up()}})
        one, other = made.headers("plugin-read"), made.headers("csi-list")
        parked = [park(pool, api, headers) for headers in (one, one, other, other)]
        for headers in (one, other):
            refused = api.call("GET", wait_for_news(api), headers=headers)
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            assert api.call("GET", LIST, headers=headers).status == 200
        assert api.services.hits.counts == {"max_parked_share": 2}
        agent.report({"ebs0": {"node": down()}})
        assert {each.result(PATIENCE).index for each in parked} == {agent.index}


def test_the_share_is_a_setting(tmp_path: Path, made: Gate, pool: ThreadPoolExecutor) -> None:
    settings = {"server_max_parked": "4", "server_max_parked_share": "75"}
    with serving(tmp_path, live=True, config=made.config, **settings) as api:
        FakeAgent(api, token=made.secrets[MANAGEMENT]).report({"ebs0": {"node": up()}})
        headers = made.headers("plugin-read")
        parked = [park(pool, api, headers) for _ in range(3)]
        assert api.call("GET", wait_for_news(api), headers=headers).status == 429
        assert not any(each.done() for each in parked)
        api.services.wake()


@pytest.mark.parametrize("trusted", ["127.0.0.0/8", "192.0.2.0/24"])
def test_the_forwarded_address_counts_from_a_trusted_proxy_only(
    tmp_path: Path, pool: ThreadPoolExecutor, trusted: str
) -> None:
    config = f'server {{ trusted_proxies = ["{trusted}"] }}\n'
    with serving(tmp_path, live=True, config=config, server_max_parked="3") as api:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        forged = {"X-Forwarded-For": f"10.1.1.1, {CLIENT}"}
        parked = [park(pool, api, forged) for _ in range(3)]
        assert not any(each.done() for each in parked)
        other = {"X-Forwarded-For": f"{CLIENT}, {PROXY}"}
        newcomer = pool.submit(api.call, "GET", wait_for_news(api), None, other)
        if trusted.startswith("127"):
            first = parked[0].result(PATIENCE)
            assert (first.status, first.index) == (200, agent.index), "as if its wait had expired"
            assert not newcomer.done()
        else:
            assert newcomer.result(PATIENCE).status == 429
        api.services.wake()


@pytest.mark.alone
@pytest.mark.parametrize("requests", [1, 3])
def test_a_client_that_left_frees_its_place_at_once(tmp_path: Path, requests: int) -> None:
    """Free the place whether the client sent one request or pipelined several."""
    with serving(tmp_path, live=True) as api:
        assert isinstance(api, Live)
        FakeAgent(api).report({"ebs0": {"node": up()}})
        where = urlsplit(api.address)
        clients = [socket.create_connection((where.hostname, where.port)) for _ in range(5)]
        for client in clients:
            path = wait_for_news(api)
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * requests)
        eventually(lambda: api.services.catalogue.parked == len(clients))
        with promised(0.5):
            for client in clients:
                client.close()
            eventually(lambda: api.services.catalogue.parked == 0, every=0.005)


def test_watchers_of_a_list_that_changes_without_pause_are_woken_together(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """Wake a plugin's readers on each change, and the list's readers every 100 ms at most."""
    with serving(tmp_path, live=True) as api:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})

        def follow(path: str, indexes: list[int]) -> None:
            is_over = False
            while not is_over:
                answer = api.call("GET", f"{path}index={indexes[-1]}&wait=5m")
                indexes.append(answer.index)
                is_over = b'"NodesHealthy":1' in answer.body

        lists, reads = [agent.index], [agent.index]
        followers = [
            pool.submit(follow, f"{LIST}&", lists),
            pool.submit(follow, "/v1/plugin/csi/ebs0?", reads),
        ]
        eventually(lambda: api.services.catalogue.parked == 2)
        begun, given = time.monotonic(), [agent.index]
        for number in range(40):
            is_last = number == 39
            agent.report({"ebs0": {"node": up() if is_last else down(f"reason {number}")}})
            given.append(agent.index)
            eventually(lambda: reads[-1] == agent.index, every=0.001)
        for follower in followers:
            follower.result(PATIENCE)
        took = time.monotonic() - begun
        assert reads == given
        assert lists[-1] == given[-1]
        assert len(lists) - 1 <= 2 + took / 0.1
