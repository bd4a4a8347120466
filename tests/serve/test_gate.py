"""The gate in front of the event loop: requests of one address wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from plugind.serve.gate import Gate
from plugind.serve.runs import Client
from tests.promises import PATIENCE

MAXIMUM = 2


async def receive() -> dict[str, Any]:
    return {"type": "http.disconnect"}


class Crowd:
    """Requests that pass through a gate."""

    def __init__(self, long: float) -> None:
        self.gate = Gate({"read": MAXIMUM}, long)
        self.entered: list[str] = []

    async def enter(self, name: str, address: str = "127.0.0.1") -> Client:
        client = Client(receive, address)
        await self.gate.enter(client, "read")
        self.entered.append(name)
        return client

    def later(self, name: str) -> asyncio.Task[Client]:
        return asyncio.create_task(self.enter(name))


def run(work: Callable[[Crowd], Awaitable[None]], long: float = PATIENCE) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            await work(Crowd(long))

    asyncio.run(main())


async def full(crowd: Crowd) -> list[Client]:
    """Let in as many requests of one address as may be in progress."""
    return [await crowd.enter(f"{number}") for number in range(MAXIMUM)]


def test_those_of_one_address_wait_in_their_order_and_others_do_not() -> None:
    async def work(crowd: Crowd) -> None:
        inside = await full(crowd)
        first, second = crowd.later("first"), crowd.later("second")
        await asyncio.sleep(0)
        await crowd.enter("other", "127.0.0.2")
        crowd.entered.clear()
        inside[0].close()
        inside[0].close()  # the second close has no effect
        inside[1].close()
        await asyncio.gather(first, second)
        assert crowd.entered == ["first", "second"]

    run(work)


def test_one_that_waits_keeps_nobody_out() -> None:
    async def work(crowd: Crowd) -> None:
        inside = await full(crowd)
        later = crowd.later("later")
        await asyncio.sleep(0)
        inside[0].waits()
        await later
        inside[0].close()  # another request has its place by now
        last = crowd.later("last")
        await asyncio.sleep(0)
        assert not last.done()
        inside[1].close()
        await last

    run(work)


def test_one_in_work_for_long_keeps_nobody_out() -> None:
    async def work(crowd: Crowd) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await full(crowd)
        await crowd.later("later")
        assert loop.time() - began >= 0.02

    run(work, long=0.02)


@pytest.mark.parametrize(("is_refused", "seconds"), [(False, 0.009), (True, 0.09)])
def test_the_next_one_pauses_while_other_addresses_ask(is_refused: bool, seconds: float) -> None:
    async def work(crowd: Crowd) -> None:
        loop = asyncio.get_running_loop()
        inside = await full(crowd)
        later = crowd.later("later")
        await asyncio.sleep(0.01)
        await crowd.enter("other", "127.0.0.2")
        left, inside[0].is_refused = loop.time(), is_refused
        inside[0].close()
        await later
        assert loop.time() - left >= seconds

    run(work)


def test_one_that_is_cancelled_while_it_waits_takes_no_place() -> None:
    async def work(crowd: Crowd) -> None:
        inside = await full(crowd)
        cancelled, later = crowd.later("cancelled"), crowd.later("later")
        await asyncio.sleep(0)
        cancelled.cancel()
        inside[0].close()
        await later
        assert cancelled.cancelled()

    run(work)
