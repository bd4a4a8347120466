"""Answers that are given again, on every HTTP server and for every way of asking for them."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest

from plugind.acl.tokens import draw
from plugind.api.repeats import Repeats
from plugind.model.times import SECOND
from plugind.serve.front import GRANIAN, KINDS, UVICORN, WAITRESS, front
from plugind.serve.listening import listen
from plugind.serve.services import Services
from plugind.testing.serving import load
from tests.api.gate import acl_block
from tests.api.repeating import RIGHTS, write_tokens
from tests.promises import PATIENCE
from tests.serve.raw import connect, exchange, head, statuses
from tests.support import FakeAgent, Live, eventually, serving, up

LIST = "/v1/plugins?type=csi"
FEW = {"server_max_parked": "20", "server_max_reports": "20"}
OPEN = "Connection: keep-alive"
IDLE = 20


@contextmanager
def counting() -> Iterator[list[str]]:
    """Yield a list that gets an entry for each answer that is given again."""
    given: list[str] = []
    done = Repeats.given

    def count(self: Repeats, repeat: Any, remote: str, began: float) -> None:
        given.append(repeat.terms.resource)
        done(self, repeat, remote, began)

    with patch.object(Repeats, "given", count):
        yield given


# The same answers for every way of asking.


@dataclass(frozen=True)
class Raw:
    """An answer as received, without the parts that depend on the time and the connection."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def read_one(sock: socket.socket, kept: bytes = b"", *, has_body: bool = True) -> tuple[Raw, bytes]:
    """Return the next answer, and the bytes received after it."""
    while b"\r\n\r\n" not in kept:
        kept += _some(sock)
    begin, _, rest = kept.partition(b"\r\n\r\n")
    first, *lines = begin.decode().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    headers = {name.lower(): value for name, _, value in pairs}
    status = int(first.split()[1])
    size = int(headers.get("content-length", 0)) if has_body and status != 304 else 0
    while len(rest) < size:
        rest += _some(sock)
    about = {"date", "connection", "server", "x-nomad-lastcontact"}
    same = {name: value for name, value in headers.items() if name not in about}
    return Raw(status, same, rest[:size]), rest[size:]


def _some(sock: socket.socket) -> bytes:
    data = sock.recv(2**16)
    assert data, "the server closed the connection"
    return data


def in_turn(address: str, method: str, lines: tuple[str, ...]) -> list[Raw]:
    """Send three requests over one connection, each after the previous answer."""
    found = []
    with connect(address) as sock:
        for _ in range(3):
            sock.sendall(head(method, LIST, *lines, OPEN))
            one, behind = read_one(sock, has_body=method != "HEAD")
            assert behind == b""
            found.append(one)
    return found


def at_once(address: str, method: str, lines: tuple[str, ...]) -> list[Raw]:
    """Send five requests over one connection without waiting for the answers."""
    found, kept = [], b""
    with connect(address) as sock:
        sock.sendall(head(method, LIST, *lines, OPEN) * 5)
        for _ in range(5):
            one, kept = read_one(sock, kept, has_body=method != "HEAD")
            found.append(one)
        assert kept == b""
    return found


def to_the_end(address: str, method: str, lines: tuple[str, ...]) -> list[Raw]:
    """Send requests over connections that end, in both versions of HTTP."""
    found = []
    for version in (b"HTTP/1.1", b"HTTP/1.0"):
        with connect(address) as sock:
            sock.sendall(head(method, LIST, *lines).replace(b"HTTP/1.1", version, 1))
            one, behind = read_one(sock, has_body=method != "HEAD")
            assert behind + sock.recv(1) == b""
            found.append(one)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_is_the_same_in_every_way_to_ask_for_it(tmp_path: Path, kind: str) -> None:
    with serving(tmp_path, live=True, http=kind, **FEW) as api:
        assert isinstance(api, Live)
        FakeAgent(api).report({f"ebs{number}": {"node": up()} for number in range(30)})
        tag = api.call("GET", LIST).headers["etag"]
        for method, lines in [
            ("GET", ()),
            ("HEAD", ()),
            ("GET", ("Accept-Encoding: gzip",)),
            ("HEAD", ("Accept-Encoding: gzip",)),
            ("GET", (f"If-None-Match: {tag}",)),
        ]:
            with patch.object(Repeats, "find", lambda self, key: None):
                (new, *_) = in_turn(api.address, method, lines)
            with counting() as given:
                for ask in (in_turn, at_once, to_the_end):
                    for found in ask(api.address, method, lines):
                        assert found == new, (method, lines, ask.__name__)
            assert len(given) >= 8
            assert (new.body == b"") is (method == "HEAD" or new.status == 304)
            assert new.status == (304 if lines and tag in lines[0] else 200)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_that_are_given_again_are_logged_like_the_first(tmp_path: Path, kind: str) -> None:
    log = tmp_path / "access.log"
    with (
        serving(tmp_path, live=True, http=kind, server_access_log=str(log), **FEW) as api,
        counting() as given,
    ):
        assert isinstance(api, Live)
        for method in ("GET", "HEAD"):
            in_turn(api.address, method, ())
        assert len(given) == 4
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        assert 0 <= line.pop("duration_ms") < PATIENCE * 1000
        assert line.pop("time")
    assert lines == [lines[0]] * 3 + [lines[3]] * 3
    assert lines[0] == {**lines[3], "method": "GET"}
    assert lines[0]["query"] == {"type": "csi"}


@pytest.mark.parametrize("size", [60_000, 300_000])
def test_a_long_head_is_refused_by_granian_whatever_was_answered_before(
    tmp_path: Path, size: int
) -> None:
    with serving(tmp_path, live=True, http=GRANIAN, **FEW) as api:
        assert isinstance(api, Live)
        assert [each.status for each in in_turn(api.address, "GET", ())] == [200] * 3
        found = exchange(api.address, head("GET", LIST, "X: " + "x" * size))
        assert statuses(found) == [431]
        assert found.endswith(b"the head is longer than 49152 bytes")
        assert statuses(exchange(api.address, head("GET", LIST, "X: " + "x" * 20_000))) == [200]


# Rights that change while many ask.


class Rights:
    """The policy and the token of a reader, which tests change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = acl_block(folder)
        self._tokens = {
            "manager": draw("manager", "management", [], None),
            "reader": draw("reader", "client", ["reader"], None),
        }
        self.manager, self.reader = (self._tokens[name][0] for name in self._tokens)
        (folder / "policies").mkdir()
        self.write()

    def write(self, rights: str = "all", expires: int | None = None) -> None:
        (self.folder / "policies/reader.hcl").write_text(RIGHTS[rights])
        write_tokens(self.folder, self._tokens, {"manager": None, "reader": expires})

    def revoke(self) -> None:
        write_tokens(self.folder, self._tokens, {"manager": None})


class Clock:
    """A clock that a test can advance (nanoseconds since 1970)."""

    def __init__(self) -> None:
        self.ahead = 0
        self._now = time.time_ns

    def __call__(self) -> int:
        return self._now() + self.ahead


@dataclass(frozen=True)
class Seen:
    """An answer, and when its read began (nanoseconds since 1970)."""

    began: int
    status: int
    index: int


@contextmanager
def readers(address: str, token: str, number: int = 4) -> Iterator[Callable[[], list[Seen]]]:
    """Let clients read without pause; yield a function that returns what they have seen since its
    last call, once each has seen some more."""
    ended = threading.Event()
    seen: list[list[Seen]] = [[] for _ in range(number)]
    taken = [0] * number
    parts = urlsplit(address)

    def read(into: list[Seen]) -> None:
        connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
        with closing(connection):
            while not ended.is_set():
                began = time.time_ns()
                connection.request("GET", LIST, headers={"X-Nomad-Token": token})
                answer = connection.getresponse()
                answer.read()
                index = int(answer.headers.get("X-Nomad-Index", 0))
                into.append(Seen(began, answer.status, index))

    def look() -> list[Seen]:
        before = [len(each) for each in seen]
        eventually(lambda: all(len(each) > old + 5 for each, old in zip(seen, before, strict=True)))
        found = []
        for at, each in enumerate(seen):
            end = len(each)
            found += each[taken[at] : end]
            taken[at] = end
        return found

    threads = [threading.Thread(target=read, args=(each,)) for each in seen]
    for thread in threads:
        thread.start()
    try:
        yield look
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_taken_away_is_in_no_answer_that_began_later(tmp_path: Path, kind: str) -> None:
    rights = Rights(tmp_path)

    def reload(declarations: str = "") -> int:
        flags = {"server_enabled": "true", "server_heartbeat_ttl": "1h", **FEW}
        settings, _ = load(tmp_path, rights.config + declarations, flags)
        api.services.reload(settings)
        return time.time_ns()

    def check(since: int, status: int, index: int = 0) -> None:
        late = [each for each in look() if each.began >= since]
        assert len(late) > 10
        assert {each.status for each in late} == {status}
        assert min(each.index for each in late) >= index

    clock = Clock()
    with (
        patch("time.time_ns", clock),
        serving(tmp_path, live=True, http=kind, config=rights.config, **FEW) as api,
        counting() as given,
    ):
        assert isinstance(api, Live)
        agent = FakeAgent(api, token=rights.manager)
        agent.report({"ebs0": {"node": up()}})
        with readers(api.address, rights.reader) as look:
            for number in range(3):
                rights.write("none")
                check(reload(), 403)
                rights.write()
                check(reload(), 200)
                rights.revoke()
                check(reload(), 403)
                expires = time.time_ns() + 60 * SECOND
                rights.write(expires=expires)
                check(reload(), 200)
                clock.ahead += 61 * SECOND
                check(expires, 403)
                rights.write()
                check(reload(), 200)
                assert agent.report({"ebs0": {"node": up(Provider=f"{number}")}}).status == 200
                check(time.time_ns(), 200, agent.index)
                since = reload(f'plugin "csi" "z" {{\n  nodes_expected = {number + 1}\n}}\n')
                check(since, 200, api.services.catalogue.index)
        assert len(given) > 100


# Clients that read nothing.


@contextmanager
def narrow(folder: Path, kind: str, **flags: str) -> Iterator[tuple[Services, Any, str]]:
    """Serve with small kernel buffers, so that the server holds what a client does not read; yield
    the services, the server and its address."""
    given = {"server_enabled": "true", "server_heartbeat_ttl": "1h", **FEW, **flags}
    with ExitStack() as until_end:
        services = Services(*load(folder, "", given), folder)
        until_end.callback(services.close)
        sock = until_end.enter_context(listen("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        server: Any = front(kind, services, sock, address)
        server.start()
        until_end.callback(server.stop)
        until_end.callback(services.wake)
        yield services, server, f"http://{address}"


def fill(services: Services, address: str) -> bytes:
    """Report many plugins; return their list."""
    live = Live(services, address)
    FakeAgent(live).report({f"plugin{number:04}": {"node": up()} for number in range(500)})
    return exchange(address, head("GET", LIST)).partition(b"\r\n\r\n")[2]


def idle_client(address: str) -> socket.socket:
    """Return a connection whose kernel buffer holds little of what its client does not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(PATIENCE)
    sock.connect((urlsplit(address).hostname, urlsplit(address).port))
    return sock


@contextmanager
def idle_clients(address: str, given: list[str]) -> Iterator[None]:
    """Open connections whose clients request the list, some many times, and read nothing."""
    with ExitStack() as clients:
        for number in range(IDLE):
            sock = clients.enter_context(idle_client(address))
            sock.sendall(head("GET", LIST, OPEN) * (1 if number % 2 else 300))
        eventually(lambda: len(given) == IDLE)
        yield


def test_clients_that_take_nothing_hinder_nobody(tmp_path: Path) -> None:
    """Give others all their answers, while no idle client is cut off."""
    with narrow(tmp_path, WAITRESS, server_send_timeout="1h") as (services, server, address):
        body = fill(services, address)
        with counting() as given, idle_clients(address, given):
            assert server._http.queued.bytes <= IDLE * len(body), "one answer each"
            for _ in range(20):
                assert exchange(address, head("GET", LIST)).endswith(body)
                assert in_turn(address, "GET", ())[2].body == body
            assert not services.hits.counts
            assert len(given) == IDLE + 20 * 4, "nothing else was given to those who read nothing"


def test_clients_that_take_nothing_are_cut_off(tmp_path: Path) -> None:
    with narrow(tmp_path, WAITRESS, server_send_timeout="1s") as (services, server, address):
        fill(services, address)
        with counting() as given, idle_clients(address, given):
            eventually(lambda: services.hits.counts.get("send_timeout") == IDLE)
            eventually(lambda: not server._http.active_channels)
            assert server._http.queued.bytes == 0
            assert len(given) == IDLE


def test_the_memory_of_answers_that_wait_is_bounded(tmp_path: Path) -> None:
    with narrow(tmp_path, WAITRESS, server_max_send_memory="1048576") as (
        services,
        server,
        address,
    ):
        body = fill(services, address)
        with ExitStack() as clients:
            for _ in range(30):
                sock = clients.enter_context(idle_client(address))
                sock.sendall(head("GET", LIST, OPEN))
            eventually(lambda: services.hits.counts.get("max_send_memory", 0) > 0)
            eventually(lambda: server._http.queued.bytes <= 2**20)
            assert exchange(address, head("GET", LIST)).endswith(body)


def test_an_answer_that_is_taken_slowly_comes_whole(tmp_path: Path) -> None:
    with narrow(tmp_path, WAITRESS) as (services, _, address):
        body = fill(services, address)
        with counting() as given, idle_client(address) as sock:
            for _ in range(2):
                sock.sendall(head("GET", LIST, OPEN))
                found = b""
                while not found.endswith(body):
                    found += sock.recv(4096)
            assert len(given) == 2


def test_a_task_of_a_client_that_takes_nothing_ends(tmp_path: Path) -> None:
    """End the task although uvicorn's send() waits until a client reads earlier bytes."""
    with narrow(tmp_path, UVICORN, server_send_timeout="1s") as (services, server, address):
        body = fill(services, address)
        before = len(asyncio.all_tasks(server._loop))
        with counting() as given, ExitStack() as clients:
            for _ in range(5):
                sock = clients.enter_context(idle_client(address))
                sock.sendall(head("GET", LIST, OPEN) * 300)
            eventually(lambda: len(given) >= 5)
            assert exchange(address, head("GET", LIST)).endswith(body)
            eventually(lambda: services.hits.counts.get("send_timeout") == 5)
            eventually(lambda: len(asyncio.all_tasks(server._loop)) <= before)
            assert not server._server.server_state.connections
            assert len(given) <= 5 * 3 + 1


def test_a_client_of_uvicorn_that_takes_an_answer_slowly_gets_it_whole(tmp_path: Path) -> None:
    with narrow(tmp_path, UVICORN, server_send_timeout="1s") as (services, _, address):
        body = fill(services, address)
        with counting() as given, idle_client(address) as sock:
            began = time.monotonic()
            sock.sendall(head("GET", LIST, OPEN) * 2)
            found = b""
            while found.count(body) < 2:
                got = sock.recv(4096 if time.monotonic() - began > 2 else 512)
                assert got, "the connection was closed"
                found += got
                time.sleep(0.02 if time.monotonic() - began < 2 else 0)
            assert len(given) == 2
        assert "send_timeout" not in services.hits.counts
