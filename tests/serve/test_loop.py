"""The loop that watches connections: no event is lost, and none reaches the wrong connection."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from plugind.serve import http_server
from plugind.serve.channel import Channel
from plugind.serve.loop import Loop
from tests.serve.support import LARGE, bare, get, is_closed, rest, until
from tests.support import eventually
from tests.test_server import cpu


class Dispatcher:
    """A dispatcher, as waitress uses it, on one end of a pair of sockets."""

    accepting = False

    def __init__(self, map: dict[int, object], loop: Loop) -> None:
        self.map, self.loop = map, loop
        self.sock, self.peer = socket.socketpair()
        self._fileno: int | None = self.sock.fileno()
        map[self.sock.fileno()] = self
        self.events: list[str] = []
        self.closes: list[Dispatcher] = []
        self.makes = 0
        self.made: list[Dispatcher] = []
        loop.touch(self)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        self.events.append("read")
        self.sock.recv(100)
        for other in self.closes:
            other.close()
        self.made = [Dispatcher(self.map, self.loop) for _ in range(self.makes)]

    def handle_close(self) -> None:
        self.events.append("close")
        self.close()

    handle_error = handle_close

    def close(self) -> None:
        if self._fileno is not None:
            self.loop.forget(self._fileno)
            del self.map[self._fileno]
            self._fileno = None
            self.sock.close()
            self.peer.close()


@pytest.fixture
def dispatchers() -> Iterator[dict[int, object]]:
    made: dict[int, object] = {}
    yield made
    for each in list(made.values()):
        assert isinstance(each, Dispatcher)
        each.close()


def test_an_event_is_not_another_connections(dispatchers: dict[int, object]) -> None:
    """Drop an event of a closed connection instead of passing it to the next one of its number."""
    with closing(Loop(dispatchers)) as loop:
        first, second = Dispatcher(dispatchers, loop), Dispatcher(dispatchers, loop)
        number = second._fileno
        first.closes, first.makes = [second], 2
        for each in (first, second):
            each.peer.send(b"x")
        loop.turn(1)
        assert first.events == ["read"]
        if second.events == []:
            assert number in [each._fileno for each in first.made], "the test shows nothing"
        assert [each.events for each in first.made] == [[], []]
        for each in first.made:
            each.peer.send(b"x")
        loop.turn(1)
        loop.turn(1)
        assert [each.events for each in first.made] == [["read"], ["read"]]


def test_a_connection_is_forgotten_though_a_child_process_has_it(
    dispatchers: dict[int, object],
) -> None:
    """Forget a closed connection even if a child's copy of the descriptor keeps it open."""
    with closing(Loop(dispatchers)) as loop:
        one = Dispatcher(dispatchers, loop)
        loop.turn(0)
        copy, peer = os.dup(one.sock.fileno()), one.peer.dup()
        one.close()
        try:
            peer.send(b"x")
            assert loop._epoll.poll(0.1) == []
        finally:
            os.close(copy)
            peer.close()


def test_urgent_data_does_not_make_the_loop_spin() -> None:
    with bare() as server, server.connect() as sock:
        sock.send(b"!", socket.MSG_OOB)
        eventually(lambda: server.channels)
        before = cpu(os.getpid())
        assert select.select([sock], [], [], 1.0)[0] == []
        assert cpu(os.getpid()) - before < 0.3
        sock.sendall(get("/x", "Connection: close"))
        assert rest(sock).endswith(b"/x")


def test_a_fault_in_a_turn_does_not_end_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[float] = []

    def overdue(self: Channel, now: float) -> str:
        faults.append(now)
        raise RuntimeError("a fault")

    with bare() as server, server.connect() as sock:
        sock.sendall(get("/x"))
        assert until(sock, b"/x").endswith(b"/x")
        with monkeypatch.context() as patch:
            patch.setattr(Channel, "overdue", overdue)
            eventually(lambda: len(faults) > 1)
        assert server.ask("/y").endswith(b"/y")


def test_a_fault_while_accepting_does_not_end_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(self: http_server.HttpServer, channel: Channel) -> None:
        raise RuntimeError("a fault")

    with bare() as server:
        with monkeypatch.context() as patch:
            patch.setattr(http_server.HttpServer, "take", take)
            server.connect().close()
            eventually(lambda: not server.channels)
        assert server.ask("/y").endswith(b"/y")


def test_no_more_files_than_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a client wait until a descriptor is free, without a loop that spins."""

    class Exhausted:
        def __init__(self, sock: socket.socket) -> None:
            self.sock, self.calls = sock, 0

        def accept(self) -> object:
            self.calls += 1
            if self.calls == 1:
                raise OSError(24, "Too many open files")
            return self.sock.accept()

        def __getattr__(self, name: str) -> object:
            return getattr(self.sock, name)

    with bare() as server:
        listening = Exhausted(server.server._http.socket)
        monkeypatch.setattr(server.server._http, "socket", listening)
        assert server.ask("/x").endswith(b"/x")
        assert server.hits.counts["open_files"] == 1
        monkeypatch.undo()


def test_connections_are_closed_by_the_loop_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Close connections in the loop only, even if a client leaves while a worker serves it."""
    threads: list[str] = []
    close = Channel.handle_close

    def noted(self: Channel) -> None:
        threads.append(threading.current_thread().name)
        close(self)

    monkeypatch.setattr(Channel, "handle_close", noted)
    expecting = b"PUT /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    with bare() as server:
        for behind in (expecting, get("/large") * 20, b""):
            for _ in range(30):
                with server.connect() as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    sock.sendall(get("/large") + behind)
        eventually(lambda: len(threads) >= 90 and not server.channels)
        assert set(threads) == {"http"}
        # A worker may still be on its way out of a request whose connection is closed.
        eventually(lambda: server.server._http.queued.bytes == 0)
        eventually(lambda: server.server._http.received.bytes == 0)


def test_many_pulls_within_a_turn_are_one_write() -> None:
    with bare() as server:
        http, pulls = server.server._http, []
        http.trigger.pull_trigger = lambda thunk=None: pulls.append(thunk)  # the loop stays idle
        eventually(lambda: not http.is_pulled)
        for _ in range(100):
            http.pull_trigger()
        assert len(pulls) <= 2, "a turn may end in between"
        del http.trigger.pull_trigger
        assert server.ask("/x").endswith(b"/x")


def test_a_worker_that_waits_to_send_ends_with_the_server() -> None:
    with bare(threads=1, send_buffer=4096) as server, server.connect(SO_RCVBUF=4096) as sock:
        sock.sendall(get("/parts"))
        eventually(lambda: any(each.total_outbufs_len > len(LARGE) for each in server.channels))
        server.server.stop(0.1)
        eventually(lambda: not server.server._http.task_dispatcher.threads)
        assert is_closed(sock) or rest(sock)


def test_a_server_that_ends_before_a_worker_does_leaves_nothing_open() -> None:
    with bare() as server:
        server.stays = True
        http = server.server._http
        with server.connect() as sock:
            sock.sendall(get("/park"))
            eventually(lambda: server.parked == 1)
            server.server.stop(0.1)
        assert http.task_dispatcher.threads, "the one that is parked"
        assert http.trigger.socket is None, "its pipe is closed"
        server.release.set()
        eventually(lambda: not http.task_dispatcher.threads)
