"""Steps of requests in the tasks of an event loop: pauses, clients that leave, and cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

from plugind.api.request import Pause, Request, Steps
from plugind.api.scope import Head
from plugind.errors import ClientGone
from plugind.serve.loop_turns import AT_ONCE
from plugind.serve.pool import Pool
from plugind.serve.runs import Client
from plugind.serve.tasks import QUICK_BYTES, Tasks
from tests.promises import PATIENCE, eventually

Work = Callable[[Tasks, Pool], Awaitable[None]]


@pytest.fixture
def run() -> Iterator[Callable[[Work], None]]:
    """Return a function that runs some work in a loop with its own tasks and pool."""
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
    """A client that leaves when the test says so."""

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


def test_long_work_is_taken_by_the_threads_beside(run: Callable[[Work], None]) -> None:
    async def work(tasks: Tasks, pool: Pool) -> None:
        pool.beside = Pool("beside", tasks.mailbox, 1, 1)

        def steps() -> Steps[list[str]]:
            names = [threading.current_thread().name]
            signal = tasks.signal()
            signal.set()
            yield Pause(signal, is_before_long=True)
            return [*names, threading.current_thread().name]

        found = await tasks.run(steps(), Client(Sender().receive), pool)
        assert found == ["test 1", "beside 1"]
        pool.beside.close()

    run(work)


@pytest.mark.parametrize("keeps_place", [False, True])
def test_a_pause_that_keeps_the_place_lets_no_other_request_in(
    run: Callable[[Work], None], keeps_place: bool
) -> None:
    async def work(tasks: Tasks, pool: Pool) -> None:
        signal, left = tasks.signal(), []
        signal.set()

        def steps() -> Steps[None]:
            yield Pause(signal, 60, keeps_place=keeps_place)

        client = Client(Sender().receive)
        client.when_it_waits(left.append)
        await tasks.run(steps(), client, pool)
        assert left == ([] if keeps_place else [client])

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


def test_steps_that_begin_in_the_loop_go_on_in_a_thread_after_a_pause(
    run: Callable[[Work], None],
) -> None:
    async def work(tasks: Tasks, pool: Pool) -> None:
        def steps(*, pauses: bool) -> Steps[list[str]]:
            names = [threading.current_thread().name]
            if pauses:
                signal = tasks.signal()
                signal.set()
                yield Pause(signal)
            return [*names, threading.current_thread().name]

        async def found(*, pauses: bool) -> list[str]:
            request = asked("PUT", HEARTBEAT, 200)
            client = Client(Sender().receive)
            return await tasks.answer(steps(pauses=pauses), request, client, writes)

        writes = tasks.pool_of(asked("PUT", HEARTBEAT, 200))

        loop = threading.current_thread().name
        assert await found(pauses=False) == [loop, loop]
        assert await found(pauses=True) == [loop, "writer 1"]

    run(work)


def test_an_error_of_a_step_in_the_loop_is_raised(run: Callable[[Work], None]) -> None:
    async def work(tasks: Tasks, pool: Pool) -> None:
        def steps() -> Steps[None]:
            yield from ()
            raise ValueError("a fault")

        request = asked("PUT", HEARTBEAT, 200)
        with pytest.raises(ValueError, match="a fault"):
            await tasks.answer(steps(), request, Client(Sender().receive), pool)

    run(work)


HEARTBEAT = "/v1/node/11111111-2222-4333-8444-555555555555/heartbeat"


@pytest.mark.parametrize(
    ("method", "path", "length", "begins"),
    [
        ("PUT", HEARTBEAT, 200, True),
        ("PUT", HEARTBEAT, QUICK_BYTES, True),
        ("PUT", HEARTBEAT, QUICK_BYTES + 1, False),
        ("GET", HEARTBEAT, 0, False),
        ("PUT", HEARTBEAT.removesuffix("/heartbeat"), 200, False),
        ("PUT", HEARTBEAT + "/heartbeat", 200, False),
    ],
)
def test_only_small_heartbeats_begin_in_the_loop(
    run: Callable[[Work], None], method: str, path: str, length: int, begins: bool
) -> None:
    async def work(tasks: Tasks, pool: Pool) -> None:
        def steps() -> Steps[bool]:
            yield from ()
            return threading.current_thread() is threading.main_thread()

        request = asked(method, path, length)
        client, fitting = Client(Sender().receive), tasks.pool_of(request)
        assert await tasks.answer(steps(), request, client, fitting) is begins

    run(work)


def test_no_heartbeat_goes_to_a_thread_however_many_come(run: Callable[[Work], None]) -> None:
    async def work(tasks: Tasks, pool: Pool) -> None:
        def steps() -> Steps[bool]:
            yield from ()
            return threading.current_thread() is threading.main_thread()

        assert all(await asyncio.gather(*beats(tasks, steps, 100 * AT_ONCE)))

    run(work)


def test_a_heartbeat_waits_for_a_turn_of_its_client(
    run: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(tasks: Tasks, pool: Pool) -> None:
        entered: list[str] = []

        async def enter(address: str) -> None:
            entered.append(address)

        def steps() -> Steps[None]:
            yield from ()

        monkeypatch.setattr(tasks.loop_turns, "enter", enter)
        client, request = Client(Sender().receive, "192.0.2.7"), asked("PUT", HEARTBEAT, 200)
        await tasks.answer(steps(), request, client, tasks.pool_of(request))
        assert entered == ["192.0.2.7"]

    run(work)


def test_the_steps_of_a_heartbeat_that_is_cancelled_before_its_turn_are_closed(
    run: Callable[[Work], None],
) -> None:
    async def work(tasks: Tasks, pool: Pool) -> None:
        began, closed = [], []

        def steps() -> Steps[None]:
            began.append(steps)
            yield from ()

        class Closing:
            """Steps that record being closed before they began."""

            def __init__(self) -> None:
                self._steps = steps()

            def __next__(self) -> Pause:
                return next(self._steps)

            def close(self) -> None:
                closed.append(self)

        count = 3 * AT_ONCE
        waiting = [asyncio.ensure_future(each) for each in beats(tasks, Closing, count)]
        await asyncio.sleep(0)
        assert len(began) == AT_ONCE
        for each in waiting[AT_ONCE:-1]:
            each.cancel()
        await waiting[-1]
        assert len(began) == AT_ONCE + 1
        assert len(closed) == count - AT_ONCE - 1

    run(work)


def beats(tasks: Tasks, steps: Callable[[], Any], count: int) -> list[Coroutine[Any, Any, Any]]:
    """Return the answers to heartbeats that arrive together, each from another client."""
    request = asked("PUT", HEARTBEAT, 200)
    pool = tasks.pool_of(request)
    return [tasks.answer(steps(), request, Client(Sender().receive), pool) for _ in range(count)]


def test_steps_are_closed_when_their_task_is_cancelled_at_the_gate(
    run: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(tasks: Tasks, pool: Pool) -> None:
        closed: list[str] = []

        def steps() -> Steps[None]:
            try:
                yield Pause(tasks.signal())
            finally:
                closed.append("closed")

        async def enter(client: Client, kind: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(tasks._gate, "enter", enter)
        request, client = asked("PUT", HEARTBEAT, 200), Client(Sender().receive)
        task = asyncio.create_task(tasks.answer(steps(), request, client, pool))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert closed

    run(work)


def asked(method: str, path: str, length: int, address: str = "10.0.0.1") -> Request:
    """Return a request with a body of ``length`` bytes."""
    pairs = [(b"content-length", b"%d" % length)] if length else []
    scope = {
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": pairs,
        "client": (address, 1),
    }
    head = Head(scope)
    return head.request(None, Client(Sender().receive, head.client))
