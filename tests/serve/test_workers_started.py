"""Threads that answer requests are started only as they are needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from structlog.testing import capture_logs

from plugind.health.threads import OwnedThread
from plugind.serve import workers
from plugind.serve.http_server import WORKERS
from plugind.serve.workers import SPARE, Workers
from tests.promises import PATIENCE
from tests.serve.support import Bare, bare, get, until
from tests.support import eventually

NUMBER = 40
"""Requests that wait at the same time, many more than SPARE."""


def threads_of(server: Bare) -> Workers:
    found: Workers = server.server._http.task_dispatcher
    return found


@pytest.mark.alone  # on a busy machine a new thread may see the request before the woken one does
def test_a_server_that_nobody_asks_has_few_threads() -> None:
    with bare(threads=1_000) as server:
        pool = threads_of(server)
        eventually(lambda: len(pool.queue_cv) == SPARE)
        assert server.ask("/x").endswith(b"/x")
        assert len(pool.threads) <= SPARE + 1


def test_a_thread_is_idle_from_its_start_on(monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on, go_on = threading.Event(), Workers.handler_thread

    def take_requests(pool: Workers, number: int) -> None:
        goes_on.wait()
        go_on(pool, number)

    monkeypatch.setattr(Workers, "handler_thread", take_requests)
    pool = Workers()
    pool.set_thread_count(NUMBER)
    pool.starter.start()
    try:
        eventually(lambda: len(pool.queue_cv) >= SPARE or len(pool.threads) == NUMBER)
        assert len(pool.threads) == SPARE
    finally:
        goes_on.set()
        pool.shutdown()


def test_requests_that_wait_have_a_thread_each_and_others_find_one() -> None:
    with bare(threads=NUMBER) as server, ExitStack() as clients:
        for _ in range(NUMBER):
            clients.enter_context(server.connect()).sendall(get("/busy"))
        pool = threads_of(server)
        eventually(lambda: len(pool.threads) >= NUMBER + SPARE)
        eventually(lambda: len(pool.queue_cv) >= SPARE)
        assert server.ask("/x").endswith(b"/x")
        assert len(pool.threads) <= NUMBER + 2 * SPARE
        eventually(lambda: len(pool.owned) == len(pool.threads))


def test_there_are_no_more_threads_than_there_may_be() -> None:
    most = 1 + WORKERS
    with bare(threads=1) as server, ExitStack() as clients:
        asked = [clients.enter_context(server.connect()) for _ in range(most + SPARE)]
        for sock in asked:
            sock.sendall(get("/park"))
        eventually(lambda: server.parked == most)
        assert len(threads_of(server).threads) == most
        server.release.set()
        for sock in asked:
            assert until(sock, b"/park").endswith(b"/park")


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_threads_that_could_not_be_started_come_later(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "START_AGAIN", 0.01)
    failures, start = [], OwnedThread.start

    def refuse(thread: OwnedThread) -> None:
        failures.append(thread)
        raise error("can't start new thread")

    with bare(threads=NUMBER) as server, ExitStack() as clients, capture_logs() as log:
        pool = threads_of(server)
        eventually(lambda: len(pool.queue_cv) == SPARE)
        monkeypatch.setattr(OwnedThread, "start", refuse)
        for _ in range(SPARE):
            clients.enter_context(server.connect()).sendall(get("/park"))
        eventually(lambda: server.parked == SPARE and len(failures) >= 2)
        sock = clients.enter_context(server.connect())
        sock.sendall(get("/x"))
        assert len(pool.threads) <= SPARE + 1, "one may be about to be tried"
        monkeypatch.setattr(OwnedThread, "start", start)
        assert until(sock, b"/x").endswith(b"/x")
        assert not pool.starter.trouble
    (line,) = (each for each in log if each["log_level"] == "error")
    assert line["reason"] == "can't start new thread"


def refusing_workers(
    monkeypatch: pytest.MonkeyPatch, before: Callable[[], object] = lambda: None
) -> list[OwnedThread]:
    """Make every start of a request thread fail from now on; return the starts that were tried."""
    tried, start = [], OwnedThread.start

    def refuse(thread: OwnedThread) -> None:
        if not thread.name.startswith("worker "):
            return start(thread)
        tried.append(thread)
        before()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(OwnedThread, "start", refuse)
    return tried


def test_no_request_has_a_start_tried_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "START_AGAIN", 10 * PATIENCE)
    with bare(threads=NUMBER) as server, ExitStack() as clients:
        eventually(lambda: len(threads_of(server).queue_cv) == SPARE)
        tried = refusing_workers(monkeypatch)
        clients.enter_context(server.connect()).sendall(get("/park"))
        eventually(lambda: tried)
        for _ in range(100):
            assert server.ask("/x").endswith(b"/x")
        assert len(tried) == 1


def test_a_thread_that_fails_to_start_at_the_end_is_waited_for_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = Workers()
    tried = refusing_workers(monkeypatch, lambda: pool.set_thread_count(0))
    pool.set_thread_count(NUMBER)
    pool.starter.start()
    eventually(lambda: not pool.starter.is_alive())
    assert len(tried) == 1
    assert (pool.threads, pool.stop_count, pool.active_count) == (set(), 0, 0)
    pool.shutdown()
    assert pool.stop_count == 0


@pytest.mark.parametrize("count", [1, NUMBER, 2 * NUMBER])
def test_threads_that_were_started_can_only_be_ended(count: int) -> None:
    with bare(threads=NUMBER) as server:
        pool = threads_of(server)
        eventually(lambda: len(pool.queue_cv) == SPARE)
        with pytest.raises(ValueError, match="can only be ended"):
            pool.set_thread_count(count)
        assert server.ask("/x").endswith(b"/x")
        assert pool.stop_count == 0
    eventually(lambda: not pool.threads)
    assert pool.stop_count == 0


def test_all_threads_end_with_the_server() -> None:
    with bare(threads=NUMBER) as server:
        pool = threads_of(server)
        assert server.ask("/x").endswith(b"/x")
    eventually(lambda: not pool.threads)
    eventually(lambda: not any(each.is_alive() for each in (*pool.owned, pool.starter)))
