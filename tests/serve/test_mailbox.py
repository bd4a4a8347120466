"""Calls from threads into a busy event loop."""

from __future__ import annotations

import asyncio
import time

from plugind.serve.mailbox import Mailbox
from tests.promises import PATIENCE

MANY = 1_000


def test_the_loop_looks_at_its_connections_between_many_calls() -> None:
    async def main() -> None:
        mailbox, made, looks = Mailbox(), list[int](), list[int]()
        loop = asyncio.get_running_loop()
        mailbox.attach(loop)
        for number in range(MANY):
            mailbox.post(lambda number=number: made.append(number))  # type: ignore[misc]
        loop.call_soon(lambda: looks.append(len(made)))
        async with asyncio.timeout(PATIENCE):
            while len(made) < MANY:
                await asyncio.sleep(0)
        assert looks[0] < MANY / 2
        assert made == list(range(MANY))

    asyncio.run(main())


def test_a_thread_waits_for_a_loop_that_is_behind_but_not_for_one_that_has_ended() -> None:
    mailbox = Mailbox()
    loop = asyncio.new_event_loop()
    mailbox.attach(loop)
    began = time.monotonic()
    mailbox.let_catch_up()
    for _ in range(MANY):
        mailbox.post(lambda: None)
    mailbox.let_catch_up()
    assert 0.04 < time.monotonic() - began < PATIENCE
    loop.close()
