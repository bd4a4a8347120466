"""The threads of an event loop: how many jobs they start, and in which order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from plugind.health.threads import OwnedThread
from plugind.serve.mailbox import Mailbox
from plugind.serve.pool import Pool
from tests.promises import PATIENCE, eventually


def within(core: int, maximum: int, work: Callable[[Pool], Coroutine[Any, Any, None]]) -> Pool:
    """Run ``work`` in a loop with a pool."""
    mailbox = Mailbox()
    pool = Pool("test", mailbox, core, maximum)

    async def run() -> None:
        mailbox.attach(asyncio.get_running_loop())
        await work(pool)

    try:
        asyncio.run(run())
    finally:
        pool.close()
    eventually(lambda: not any(each.is_alive() for each in pool.threads))
    return pool


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not look():
            await asyncio.sleep(0.001)


def test_few_threads_do_many_short_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugind.serve.pool.LONG", PATIENCE)  # however slow the machine is
    done: list[int] = []

    async def work(pool: Pool) -> None:
        for number in range(1_000):
            pool.submit(lambda number=number: done.append(number))
        await until(lambda: len(done) == 1_000)

    assert len(within(4, 100, work).threads) <= 4


def test_jobs_that_wait_keep_no_others_waiting() -> None:
    ended, begun = threading.Event(), []

    def wait() -> None:
        begun.append(1)
        ended.wait(PATIENCE)

    async def work(pool: Pool) -> None:
        try:
            for _ in range(20):
                pool.submit(wait)
            done = threading.Event()
            pool.submit(done.set)
            await until(lambda: len(begun) == 20)
            await until(done.is_set)
        finally:
            ended.set()

    assert 20 < len(within(4, 30, work).threads) <= 30


def test_a_job_begins_after_one_look_where_all_in_work_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Pool, "_look_later", lambda pool: None)  # the test calls _look itself
    ended, begun, done = threading.Event(), [], threading.Event()

    def wait() -> None:
        begun.append(1)
        ended.wait()  # longer than the test waits

    async def work(pool: Pool) -> None:
        try:
            for _ in range(20):
                pool.submit(wait)
            for number in range(4, 24, 4):
                await until(lambda number=number: len(begun) == number)
                pool._look()
            pool.submit(done.set)
            pool._look()
            await until(done.is_set)
        finally:
            ended.set()

    within(4, 30, work)


def test_there_are_no_more_threads_than_there_may_be() -> None:
    ended, begun = threading.Event(), []

    def wait() -> None:
        begun.append(1)
        ended.wait(PATIENCE)

    async def work(pool: Pool) -> None:
        for _ in range(6):
            pool.submit(wait)
        await until(lambda: len(begun) == 4)
        ended.set()
        await until(lambda: len(begun) == 6)

    assert len(within(2, 4, work).threads) == 4


def test_clients_take_turns() -> None:
    go_on, order = threading.Event(), []

    async def work(pool: Pool) -> None:
        pool.submit(lambda: go_on.wait(PATIENCE))
        for number in range(3):
            pool.submit(lambda number=number: order.append(f"many {number}"), "many")
        pool.submit(lambda: order.append("one"), "one")
        go_on.set()
        await until(lambda: len(order) == 4)

    within(1, 1, work)
    assert order == ["many 0", "one", "many 1", "many 2"]


def test_a_job_that_fails_ends_no_thread() -> None:
    done = threading.Event()

    def fail() -> None:
        raise RuntimeError("a fault")

    async def work(pool: Pool) -> None:
        pool.submit(fail)
        pool.submit(done.set)
        await until(done.is_set)

    within(1, 1, work)


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_threads_that_could_not_be_started_come_later(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, failures = threading.Event(), []
    start = OwnedThread.start

    def refuse(thread: OwnedThread) -> None:
        failures.append(thread)
        raise error("can't start new thread")

    async def work(pool: Pool) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        pool.submit(lambda: first.wait(PATIENCE))
        await until(lambda: len(pool.threads) == 1)
        monkeypatch.setattr(OwnedThread, "start", refuse)
        done = threading.Event()
        pool.submit(done.set)
        await until(lambda: len(failures) >= 2)  # each look failed to start a thread
        assert len(pool.threads) == 1
        monkeypatch.setattr(OwnedThread, "start", start)
        await until(done.is_set)
        first.set()

    assert len(within(1, 4, work).threads) >= 2
