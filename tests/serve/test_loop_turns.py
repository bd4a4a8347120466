"""Short requests are spread over turns of the event loop, and addresses alternate."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from plugind.serve.askers import Askers
from plugind.serve.loop_turns import AT_ONCE, REST_MAXIMUM, LoopTurns
from plugind.serve.mailbox import Mailbox
from tests.promises import PATIENCE

GREEDY, HONEST = "127.0.0.2", "127.0.0.3"
MANY = 10 * AT_ONCE


class Loop:
    """Requests in an event loop: ``began`` has the address of each, and the turn in which it began;
    ``rests`` are the seconds for which the loop was left idle."""

    def __init__(self) -> None:
        self.mailbox = Mailbox()
        self.turns = LoopTurns(self.mailbox, Askers())
        self.began: list[tuple[str, int]] = []
        self.rests: list[float] = []
        self._turn = 0

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            self.mailbox.attach(loop)
            call_later = loop.call_later

            def noting(delay: float, call: Callable[..., Any], *args: Any) -> Any:
                if call == self.turns._next_turn:
                    self.rests.append(delay)
                return call_later(delay, call, *args)

            loop.call_later = noting  # type: ignore[method-assign,assignment]
            async with asyncio.timeout(PATIENCE):
                await work()

        asyncio.run(main())

    def requests(self, addresses: Sequence[str]) -> list[asyncio.Task[None]]:
        return [asyncio.ensure_future(self._request(address)) for address in addresses]

    async def finish(self, requests: Sequence[asyncio.Task[None]]) -> None:
        """Count turns of the loop until the requests are done."""
        while not all(each.done() for each in requests):
            self._turn += 1
            await asyncio.sleep(0)

    def most(self) -> int:
        """Return the largest number of requests that began in one turn."""
        turns = [turn for _, turn in self.began]
        return max(map(turns.count, turns))

    async def _request(self, address: str) -> None:
        await self.turns.enter(address)
        self.began.append((address, self._turn))


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_few_requests_begin_in_one_turn(loop: Loop) -> None:
    async def work() -> None:
        for _ in range(2):  # the second time must be like the first
            await loop.finish(loop.requests([GREEDY] * MANY))

    loop.run(work)
    assert len(loop.began) == 2 * MANY
    assert loop.most() == AT_ONCE
    assert not loop.rests, "nobody else asks"


def test_addresses_take_turns(loop: Loop) -> None:
    async def work() -> None:
        await loop.finish(loop.requests([GREEDY] * MANY + [HONEST]))

    loop.run(work)
    place = [address for address, _ in loop.began].index(HONEST)
    assert place < 2 * AT_ONCE, "it waits for one turn of the others"


def test_the_loop_rests_after_a_turn_of_a_crowd_while_others_ask(loop: Loop) -> None:
    async def work() -> None:
        await loop.finish(loop.requests([HONEST] + [GREEDY] * MANY))

    loop.run(work)
    assert len(loop.began) == MANY + 1
    assert loop.most() <= AT_ONCE
    assert loop.rests
    assert min(loop.rests) > 0
    assert max(loop.rests) <= REST_MAXIMUM


def test_many_addresses_with_a_request_each_do_not_make_the_loop_rest(loop: Loop) -> None:
    async def work() -> None:
        await loop.finish(loop.requests([f"127.0.1.{number}" for number in range(MANY)]))

    loop.run(work)
    assert len(loop.began) == MANY
    assert not loop.rests


def test_the_loop_does_not_rest_after_the_last_requests_of_an_address(loop: Loop) -> None:
    async def work() -> None:
        await loop.finish(loop.requests([HONEST] + [GREEDY] * AT_ONCE))

    loop.run(work)
    assert len(loop.began) == AT_ONCE + 1
    assert not loop.rests


def test_requests_begin_again_after_all_that_waited_were_cancelled(loop: Loop) -> None:
    async def work() -> None:
        crowd = loop.requests([GREEDY] * MANY)
        await asyncio.sleep(0)
        for each in crowd[AT_ONCE:]:
            each.cancel()
        await loop.finish(crowd)
        await loop.finish(loop.requests([GREEDY]))

    loop.run(work)
    assert len(loop.began) == AT_ONCE + 1


def test_cancelled_requests_keep_no_others_from_their_turn(loop: Loop) -> None:
    async def work() -> None:
        *cancelled, last = loop.requests([GREEDY] * MANY)
        await asyncio.sleep(0)
        for each in cancelled[AT_ONCE:]:
            each.cancel()
        await loop.finish([last])

    loop.run(work)
    assert len(loop.began) == AT_ONCE + 1
