"""Steps of requests in the tasks of an event loop: pauses, clients that leave, and cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from plugind.api.request import Pause, Steps
from plugind.errors import ClientGone
from plugind.serve.pool import Pool
from plugind.serve.runs import Client
from plugind.serve.tasks import Tasks
from tests.promises import PATIENCE, eventually

Work = Callable[[Tasks, Pool], Awaitable[None]]


@pytest.fixture
def run() -> Iterator[Callable[[Work], None]]:
    """Return a function that runs some work in a loop, with tasks and a pool of theirs."""
    tasks = Tasks(writers=2)
    pool = Pool("test", tasks.mailbox, 2, 2)

    def in_loop(work: Work) -> None:
        async def main() -> None:
            tasks.mailbox.attach(asyncio.get_running_loop())
            async with asyncio.timeout(PATIENCE):
                await work(tasks, pool)

        asyncio.run(main())

    yield in_loop
    pool.close()
    tasks.close()
    eventually(lambda: not any(each.is_alive() for each in pool.threads))


class Sender:
    """A client that leaves when the test wants it to."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.leaves.wait()
        return {"type": "http.disconnect"}


async def until(look: Callable[[], object]) -> None:
    while not look():
        await asyncio.sleep(0.001)


def test_steps_go_on_when_the_signal_is_set(run: Callable[[Work], None]) -> None:
    async def work(tasks: Tasks, pool: Pool) -> None:
        signal, early = tasks.signal(), tasks.signal()
        early.set()

        def steps() -> Steps[str]:
            yield Pause(early, 60)
            threading.Timer(0.01, signal.set).start()
            yield Pause(signal)
            return "done"

        assert await tasks.run(steps(), Client(Sender().receive), pool) == "done"

    run(work)


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.02])
def test_a_pause_ends_with_its_time(run: Callable[[Work], None], seconds: float) -> None:
    async def work(tasks: Tasks, pool: Pool) -> None:
        def steps() -> Steps[str]:
            yield Pause(tasks.signal(), seconds)
            yield Pause(tasks.signal(), seconds, ends_with_client=True)
            return "done"

        assert await tasks.run(steps(), Client(Sender().receive), pool) == "done"

    run(work)


def test_steps_learn_that_the_client_has_left(run: Callable[[Work], None]) -> None:
    async def work(tasks: Tasks, pool: Pool) -> None:
        sender, parked = Sender(), threading.Event()

        def steps() -> Steps[str]:
            parked.set()
            try:
                yield Pause(tasks.signal(), 60, ends_with_client=True)
            except ClientGone:
                return "gone"
            return "done"

        client = Client(sender.receive)
        task = asyncio.create_task(tasks.run(steps(), client, pool))
        await until(parked.is_set)
        sender.leaves.set()
        assert await task == "gone"
        assert client.has_left

    run(work)


def test_steps_that_are_cancelled_while_they_pause_are_closed(run: Callable[[Work], None]) -> None:
    async def work(tasks: Tasks, pool: Pool) -> None:
        parked, closed = threading.Event(), threading.Event()

        def steps() -> Steps[None]:
            parked.set()
            try:
                yield Pause(tasks.signal(), 60)
            finally:
                closed.set()

        task = asyncio.create_task(tasks.run(steps(), Client(Sender().receive), pool))
        await until(parked.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(closed.is_set)

    run(work)


def test_steps_that_are_cancelled_in_work_are_closed_at_their_pause(
    run: Callable[[Work], None],
) -> None:
    async def work(tasks: Tasks, pool: Pool) -> None:
        begun, go_on, closed = threading.Event(), threading.Event(), threading.Event()

        def steps() -> Steps[None]:
            begun.set()
            go_on.wait(PATIENCE)
            try:
                yield Pause(tasks.signal(), 60)
            finally:
                closed.set()

        task = asyncio.create_task(tasks.run(steps(), Client(Sender().receive), pool))
        await until(begun.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await until(closed.is_set)

    run(work)


def test_an_error_of_the_steps_is_raised(run: Callable[[Work], None]) -> None:
    async def work(tasks: Tasks, pool: Pool) -> None:
        def fail() -> None:
            raise ValueError("a fault")

        with pytest.raises(ValueError, match="a fault"):
            await tasks.call(fail, Client(Sender().receive), pool)

    run(work)
