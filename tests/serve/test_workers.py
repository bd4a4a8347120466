"""The order in which requests are answered."""

from __future__ import annotations

import ctypes
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import pytest

from plugind.serve.http_server import RefusedHead
from plugind.serve.limits import ConnectionLimits
from plugind.serve.workers import (
    READS_MAXIMUM,
    REFUSED_PAUSE,
    FairTasks,
    LastIdleFirst,
    Workers,
)
from tests.promises import PATIENCE
from tests.serve.support import bare, get, until
from tests.support import eventually


@dataclass(eq=False)
class Task:
    client: str
    number: int = 0
    is_pipelined: bool = False
    is_read: bool = False
    is_refused: bool = False


def test_addresses_are_served_in_turn() -> None:
    tasks = FairTasks()
    for client in "aaaabbc":
        tasks.append(Task(client))
    order = ""
    while tasks:
        order += tasks.popleft().client
    assert order == "abcabaa"


class Idle:
    """Threads that wait for a condition, and the order in which they were woken."""

    def __init__(self, count: int) -> None:
        self.lock = threading.Lock()
        self.condition = LastIdleFirst(self.lock)
        self.woken: list[int] = []
        self.threads = [threading.Thread(target=self._wait, args=(each,)) for each in range(count)]
        for number, thread in enumerate(self.threads, 1):
            thread.start()
            eventually(lambda number=number: len(self.condition._idle) == number)

    def _wait(self, number: int) -> None:
        with suppress(KeyboardInterrupt), self.lock:
            self.condition.wait()
            self.woken.append(number)

    def wake(self, count: int) -> None:
        with self.lock:
            self.condition.notify(count)

    def end(self) -> None:
        with self.lock:
            self.condition.notify_all()
        for thread in self.threads:
            thread.join()


def test_the_thread_that_was_idle_last_is_woken_first() -> None:
    idle = Idle(3)
    for number in (2, 1):
        idle.wake(1)
        eventually(lambda number=number: idle.woken[-1:] == [number])
    idle.end()
    assert idle.woken == [2, 1, 0]
    idle.wake(1)  # nobody waits
    assert not idle.condition._idle


def test_a_connection_whose_reads_are_of_two_clients_is_forgotten() -> None:
    """Let a client send its token with a request before the pause after its last one is over."""
    tasks, task = FairTasks(), Task("a", is_read=True)
    tasks.append(task)
    assert tasks.popleft() is task
    task.client = "a token"
    tasks.append(task)
    assert tasks.popleft() is task
    for _ in range(2):
        tasks.release(task)
    assert not tasks._readers


def test_a_thread_that_dies_as_it_is_woken_has_another_one_woken() -> None:
    idle = Idle(2)
    last = idle.threads[1]
    ident, killed = ctypes.c_ulong(last.ident or 0), ctypes.py_object(KeyboardInterrupt)
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, killed) == 1
    idle.wake(1)
    eventually(lambda: not last.is_alive())
    eventually(lambda: idle.woken == [0])
    idle.end()
    assert idle.woken == [0]


def test_the_reads_of_one_address_in_work_are_bounded() -> None:
    tasks = FairTasks()
    reads = [Task("a", number, is_read=True) for number in range(READS_MAXIMUM + 2)]
    for each in (*reads, Task("b", is_read=True), Task("a")):
        tasks.append(each)
    taken = []
    while tasks:
        taken.append(tasks.popleft())
    assert Counter((each.client, each.is_read) for each in taken) == {
        ("a", True): READS_MAXIMUM,
        ("b", True): 1,
        ("a", False): 1,
    }
    for number in (0, 1):
        tasks.release(reads[number])
        assert tasks.popleft() is reads[READS_MAXIMUM + number]
        assert not tasks
    for each in taken + reads:
        tasks.release(each)
    assert not tasks._readers, "addresses are forgotten"


def test_a_read_that_waits_or_is_not_taken_keeps_no_other_of_its_address_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("plugind.serve.workers.READ_LONG", 600.0)
    with bare(send_timeout=600.0) as server, ExitStack() as clients:
        for number in range(1, 4):
            sock = clients.enter_context(server.connect())
            sock.sendall(get("/park"))
            eventually(lambda number=number: server.parked == number)
        for _ in range(3):
            sock = clients.enter_context(server.connect(SO_RCVBUF=4096))
            sock.sendall(get("/parts"))
        eventually(lambda: server.server._http.queued.bytes >= 3 * 2**18)
        assert server.ask("/x").endswith(b"/x")


def test_a_long_read_keeps_no_other_of_its_address_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugind.serve.workers.READ_LONG", PATIENCE)
    tasks, (long, held, later) = FairTasks(), (Task("a", n, is_read=True) for n in range(3))
    for each in (long, held):
        tasks.append(each)
    assert tasks.popleft() is long
    tasks.look()
    assert not tasks, "it has only begun"
    monkeypatch.setattr("plugind.serve.workers.READ_LONG", 0.0)
    tasks.look()
    assert tasks.popleft() is held
    tasks.append(later)
    assert tasks.popleft() is later
    for each in (long, held, later):
        tasks.release(each)
    assert not tasks._readers


def test_a_read_that_blocks_a_worker_lets_others_of_its_address_go_on() -> None:
    with bare() as server, server.connect() as sock:
        sock.sendall(get("/busy"))
        eventually(lambda: server.server._http.task_dispatcher.queue._readers)
        assert server.ask("/x").endswith(b"/x")
        server.release.set()


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("X-Nomad-Token: a secret", "127.0.0.1 a token"),
        ("Authorization: Bearer a secret", "127.0.0.1 a token"),
        ("X-Nomad-Token: made up", "127.0.0.1"),
        ("X-Other: a secret", "127.0.0.1"),
    ],
)
def test_a_valid_token_takes_turns_of_its_own(header: str, client: str) -> None:
    with bare() as server, server.connect() as sock:
        sock.sendall(get("/busy", header))
        eventually(lambda: server.server._http.task_dispatcher.queue._readers)
        assert [*server.server._http.task_dispatcher.queue._readers] == [client]
        server.release.set()


def test_pipelined_requests_come_last_and_one_at_a_time() -> None:
    tasks = FairTasks()
    first, second, plain = Task("a", is_pipelined=True), Task("b", is_pipelined=True), Task("c")
    for each in (first, second, plain):
        tasks.append(each)
    assert len(tasks) == 2
    assert [tasks.popleft(), tasks.popleft()] == [plain, first]
    assert len(tasks) == 0, "one is being answered"
    tasks.release(first)
    assert tasks.popleft() is second


def test_a_pause_follows_a_refused_request_while_another_address_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks, refused, other = FairTasks(), Task("a", is_refused=True), Task("b")
    for each in (refused, other):
        tasks.append(each)
    assert [tasks.popleft(), tasks.popleft()] == [refused, other]
    assert (tasks.pause(refused), tasks.pause(other)) == (REFUSED_PAUSE, 0)
    monkeypatch.setattr("plugind.serve.askers._RECENT", 0.0)
    assert tasks.pause(refused) == 0, "nobody else is there to be kept waiting"


def test_what_follows_a_refusal_counts_as_a_read_until_it_is_answered_otherwise() -> None:
    change = b"PUT %s HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    with bare() as server, server.connect() as sock:
        counted = []
        for path, end in ((b"/forbidden", b"/forbidden"), (b"/x", b"/x"), (b"/y", b"/y")):
            sock.sendall(change % path)
            until(sock, end)
            (channel,) = server.channels
            counted.append(channel.is_read)
        assert counted == [False, True, False]


def test_to_refuse_a_request_by_its_head_counts_as_its_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(environ: dict[str, Any]) -> RefusedHead:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        return "403 Forbidden", [], b"no"

    costs: list[float] = []
    monkeypatch.setattr(Workers, "rest", lambda workers, task, took: costs.append(took))
    with bare(check_head=refuse) as server, server.connect() as sock:
        sock.sendall(b"PUT /x HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")
        assert until(sock, b"no").startswith(b"HTTP/1.1 403 ")
        eventually(lambda: costs)
    assert costs[0] >= 0.05


def test_a_parked_request_does_not_keep_pipelined_ones_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("plugind.serve.workers.READ_LONG", 600.0)
    with bare() as server, ExitStack() as clients:
        for number in range(1, 4):
            sock = clients.enter_context(server.connect())
            sock.sendall(get("/x") + get("/park"))
            eventually(lambda number=number: server.parked == number)
        sock = clients.enter_context(server.connect())
        sock.sendall(get("/x") + get("/last"))
        assert until(sock, b"/last").endswith(b"/last")


@pytest.mark.parametrize(
    ("address", "forwarded", "client"),
    [
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "8.8.8.8", "8.8.8.8"),
        ("127.0.0.1", "1.1.1.1, 8.8.8.8", "8.8.8.8"),
        ("127.0.0.1", "8.8.8.8, 10.0.0.1", "8.8.8.8"),
        ("127.0.0.1", "10.0.0.2,10.0.0.1", "10.0.0.2"),
        ("9.9.9.9", "8.8.8.8", "9.9.9.9"),
    ],
)
def test_the_client_behind_trusted_proxies(address: str, forwarded: str, client: str) -> None:
    proxies = (ip_network("127.0.0.1"), ip_network("10.0.0.0/8"))
    assert ConnectionLimits(trusted_proxies=proxies).client_of(address, forwarded) == client


def test_the_pause_after_a_read_keeps_the_place_of_the_connections_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers, task, held = Workers(), Task("a", is_read=True), Task("a", 1, is_read=True)
    tasks = workers.queue
    tasks.append(task)
    assert tasks.popleft() is task

    def sleep(seconds: float) -> None:
        """Take the connection's next request, and let another of its address wait for it."""
        tasks.append(task)
        tasks.release(task)
        assert tasks.popleft() is task
        tasks.append(held)

    monkeypatch.setattr(tasks, "pause", lambda task: 1)
    monkeypatch.setattr(time, "sleep", sleep)
    workers.rest(task, 0.01)
    assert len(tasks) == 0, "the next one is still in work"
    workers.done(task)
    assert tasks.popleft() is held
