"""Which connections are closed to make room when the limit of connections is reached."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest

from plugind.health import Hits
from plugind.serve.bodies import BodyMemory
from plugind.serve.connections import Places
from plugind.serve.http_server import BEYOND_MAXIMUM
from plugind.serve.limits import is_within
from tests.serve.support import bare, get, is_closed, rest, until
from tests.support import eventually
from tests.test_server import cpu


@dataclass(eq=False)
class Peer:
    address: str
    last_request: float
    is_agent: bool = False
    is_idle: bool = True

    @property
    def is_working(self) -> bool:
        return not self.is_idle


def chosen(connections: list[Peer], newcomer: str, *proxies: str) -> float | None:
    places: Places[Peer] = Places(lambda address: address in proxies)
    for each in connections:
        places.add(each)
    for each in sorted(connections, key=lambda each: each.last_request):
        places.used(each)
    new = Peer(newcomer, 100)
    places.add(new)
    found = places.gives_way(new)
    return found and found.last_request


@pytest.mark.parametrize(
    ("connections", "newcomer", "wanted"),
    [
        ([], "a", None),
        ([Peer("a", 2), Peer("a", 1), Peer("b", 0)], "c", 1),
        ([Peer("a", 2), Peer("a", 1), Peer("b", 0)], "a", 1),
        ([Peer("a", 2), Peer("a", 1), Peer("b", 0)], "b", 1),
        ([Peer("a", 2), Peer("a", 1, is_idle=False), Peer("b", 0)], "c", 2),
        ([Peer("a", 2, is_agent=True), Peer("a", 1, is_agent=True), Peer("b", 0)], "c", 0),
        ([Peer("a", 2, is_agent=True), Peer("b", 1, is_agent=True)], "c", 1),
        ([Peer("a", 1, is_idle=False)], "c", None),
        ([Peer("a", 3), Peer("b", 2), Peer("b", 1)], "b", 1),
        ([Peer("a", 0), Peer("b", 2), Peer("b", 1, is_idle=False)], "b", 2),
    ],
)
def test_the_address_that_holds_most_gives_way(
    connections: list[Peer], newcomer: str, wanted: float | None
) -> None:
    assert chosen(connections, newcomer) == wanted


def test_connections_of_a_proxy_never_give_way() -> None:
    peers = [Peer("proxy", number) for number in range(9)]
    assert chosen(peers, "a", "proxy") is None
    assert chosen([*peers, Peer("b", 99)], "a", "proxy") == 99


def test_an_address_is_within_networks() -> None:
    networks = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
    for address in ("10.1.2.3", "fd00::1", "::ffff:10.1.2.3", "fd00::1%eth0"):
        assert is_within(address, networks)
    for address in ("11.1.2.3", "fe80::1", "", "proxy"):
        assert not is_within(address, networks)


def test_idle_connections_give_way_to_those_who_ask() -> None:
    with bare(max_connections=20) as server, ExitStack() as clients:
        agent = clients.enter_context(server.connect("127.0.0.3"))
        agent.sendall(get("/agent"))
        assert until(agent, b"/agent").endswith(b"/agent")
        for _ in range(60):
            sock = clients.enter_context(server.connect("127.0.0.2"))
            sock.sendall(b"GET /slow HTTP/1.1\r\n")
        assert server.ask("/x", "127.0.0.4").endswith(b"/x")
        assert len(server.channels) <= 21
        agent.sendall(get("/x"))
        assert until(agent, b"/x").endswith(b"/x")
        assert server.hits.counts["max_connections"] >= 40


def test_beyond_the_limit_all_but_health_and_agents_get_503() -> None:
    limits = {"max_connections": 4, "head_timeout": 600.0, "idle_timeout": 600.0}
    with bare(threads=8, **limits) as server, ExitStack() as clients:
        for _ in range(4):
            sock = clients.enter_context(server.connect())
            sock.sendall(get("/park"))
        eventually(lambda: server.parked == 4)
        answer = server.ask("/v1/plugins")
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"Retry-After: 1\r\n" in answer
        assert server.ask("/v1/agent/health").startswith(b"HTTP/1.1 200 ")
        heartbeat = server.ask("/v1/node/1/heartbeat", method="PUT")
        assert heartbeat.startswith(b"HTTP/1.1 200 ")
        query = server.ask("/v1/node/1?index=9")
        assert query.startswith(b"HTTP/1.1 503 "), "it could stay for minutes"
        with server.connect() as mute:
            assert is_closed(mute)
        server.release.set()
        eventually(lambda: len(server.channels) == 4)


def test_an_answer_beyond_the_limit_is_the_last_of_its_connection() -> None:
    """End the connection after such an answer, or clients of health might keep all places."""
    with bare(max_connections=4, threads=8) as server, ExitStack() as clients:
        for _ in range(4):
            sock = clients.enter_context(server.connect())
            sock.sendall(get("/park"))
        eventually(lambda: server.parked == 4)
        for _ in range(2 * BEYOND_MAXIMUM):
            sock = clients.enter_context(server.connect())
            sock.sendall(get("/v1/agent/health"))
            assert b"Connection: close\r\n" in rest(sock)


def test_clients_that_do_not_take_their_answers_give_way() -> None:
    limits = {"max_connections": 20, "send_timeout": 600.0}
    with bare(send_buffer=4096, **limits) as server, ExitStack() as clients:
        for _ in range(20):
            sock = clients.enter_context(server.connect("127.0.0.2", SO_RCVBUF=4096))
            sock.sendall(get("/large") * 50)
        eventually(lambda: len(server.channels) == 20)
        eventually(lambda: all(each.total_outbufs_len for each in server.channels))
        for source in ("127.0.0.3", "127.0.0.2"):
            assert server.ask("/x", source).endswith(b"/x")


def test_idle_connections_cost_nothing() -> None:
    """Check that the processor time of a request does not depend on idle connections."""
    with bare(max_connections=1_000) as server, ExitStack() as clients:
        me = Path("/proc/self").resolve().name

        def cost() -> float:
            before = cpu(int(me))
            for _ in range(300):
                assert server.ask("/x").endswith(b"/x")
            return cpu(int(me)) - before

        cost()
        alone = min(cost() for _ in range(2))
        for _ in range(900):
            clients.enter_context(server.connect("127.0.0.2"))
        eventually(lambda: len(server.channels) == 900)
        crowded = min(cost() for _ in range(2))
        assert crowded < 2 * alone + 0.1


def test_rest_of_a_connection_is_dropped_when_the_server_stops() -> None:
    with bare() as server:
        sock = server.connect()
        sock.sendall(get("/x", "Connection: close"))
        assert rest(sock).endswith(b"/x")
        sock.close()
        idle = server.connect()
    assert is_closed(idle)
    idle.close()


@dataclass(eq=False)
class Sender:
    share: str


def test_memory_for_bodies_is_given_in_order_and_shared_by_address() -> None:
    memory: BodyMemory[Sender] = BodyMemory(100)
    first, second, third, other = Sender("a"), Sender("a"), Sender("a"), Sender("b")
    assert memory.reserve(first, 50)
    assert memory.reserve(second, 50)
    assert not memory.reserve(third, 10)
    assert not memory.reserve(other, 20)
    assert memory.release(first) == [third, other] or memory.bytes <= 100
    assert memory.bytes == 50 + 10 + 20 or memory.bytes == 50 + 20
    memory.release(second)
    memory.release(third)
    memory.release(other)
    assert memory.bytes == 0


def test_a_body_larger_than_all_memory_goes_alone() -> None:
    memory: BodyMemory[Sender] = BodyMemory(100)
    large, small = Sender("a"), Sender("b")
    assert memory.reserve(large, 500)
    assert not memory.reserve(small, 1)
    assert memory.release(large) == [small]


def test_limits_are_counted_and_logged_once_a_minute(capfd: pytest.CaptureFixture[str]) -> None:
    hits = Hits()
    for _ in range(5):
        hits.add("one", address="127.0.0.1")
    hits.add("two")
    assert hits.counts == {"one": 5, "two": 1}
