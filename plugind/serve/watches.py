"""Parks blocking queries without a thread or a step of the flow, and gives many the same answer.

1. A query waits on the basis of a kept answer, which shows that its caller may have it. The first
   query has that answer made, by the flow and as for a request that does not wait.
2. Once woken, a query gets the answer that is kept by then; if necessary, one of the queries has it
   made for all.
3. Only a few queries go on in each turn of the loop. While there are plain reads, a break follows
   each turn, so that thousands of woken queries do not hold up those reads.

If no answer is kept, for example because the object does not exist, the flow parks the query
itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from plugind.api.direct import Direct
from plugind.api.query import Query
from plugind.api.repeats import OF_WAITS, Repeat
from plugind.api.request import Request
from plugind.errors import TooManyParked
from plugind.serve.mailbox import Mailbox
from plugind.serve.runs import Client
from plugind.serve.tasks import Tasks

AT_ONCE = 16
"""Queries that go on in one turn of the loop."""

BYTES_AT_ONCE = 2**20
"""Approximate number of bytes of their answers, while there are plain reads."""

BREAK = 0.001
"""Seconds until the next turn while there are plain reads: about as long as a turn takes, including
the sending of its answers."""

_TRIES = 3  # attempts to have an answer made before it changes again


class Wakes:
    """Completes futures, a few in each turn of the loop; ``has_plain`` returns whether there are
    plain reads."""

    def __init__(self, mailbox: Mailbox, has_plain: Callable[[], bool]) -> None:
        self._mailbox = mailbox
        self._has_plain = has_plain
        self._ready: deque[asyncio.Future[None]] = deque()
        self._is_pulled = False
        self.size = 0
        """Bytes of the last answer that was given to a woken query."""

    def add(self, woken: asyncio.Future[None]) -> None:
        """Have a future completed, unless it is done already. Thread-safe."""
        self._ready.append(woken)
        if not self._is_pulled:
            self._is_pulled = True
            self._mailbox.post(self._turn)

    def _turn(self) -> None:
        self._is_pulled = False  # reset first, so that a future added later has a turn made
        most = AT_ONCE
        if has_plain := self._has_plain():
            most = max(1, min(AT_ONCE, BYTES_AT_ONCE // max(1, self.size)))
        for _ in range(min(most, len(self._ready))):
            if not (woken := self._ready.popleft()).done():
                woken.set_result(None)
        if self._ready and not self._is_pulled:
            self._is_pulled = True
            loop = self._mailbox.loop
            if has_plain:
                loop.call_later(BREAK, self._turn)
            else:
                loop.call_soon(self._turn)


@dataclass(slots=True)
class _Making:
    """An answer that is being made for all queries that wait for it. ``may_be_kept`` becomes False
    if it turns out to be an answer that is not kept."""

    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    may_be_kept: bool = True


class Watches:
    """Answers blocking queries; only for the loop's thread."""

    def __init__(self, direct: Direct, tasks: Tasks) -> None:
        self._direct = direct
        self._tasks = tasks
        turns = direct.flow.turns
        self._wakes = Wakes(tasks.mailbox, lambda: turns.has_plain)
        self._making: dict[Hashable, _Making] = {}

    async def answer(
        self, request: Request, client: Client, key: Hashable, target: str
    ) -> tuple[Repeat | None, float]:
        """Return the answer to a blocking query once there is a newer one or its time is over, and
        the seconds for which the query was parked; None as the answer if the flow has to answer it,
        for example with an error."""
        query = self._direct.flow.query_of(request)
        if query is None or not self._direct.repeats.may_park(query):
            return None, 0.0
        if (repeat := await self._made(request, client, key, target)) is None:
            return None, 0.0
        if repeat.terms.index > query.index:
            return repeat, 0.0
        began = time.monotonic()
        if not await self._wait(request, client, query, repeat.terms.resource):
            return None, 0.0
        parked = time.monotonic() - began
        repeat = await self._made(request, client, key, target, has_waited=True)
        if repeat is not None:
            self._wakes.size = len(repeat.body)
        return repeat, parked

    async def _wait(self, request: Request, client: Client, query: Query, resource: str) -> bool:
        """Wait until a resource is newer than the query's index, or the query's time is over;
        return whether the query had a place and its client is still there."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            self._wakes.add(woken)

        try:
            place = self._direct.flow.subscribe(request, resource, query.index, wake)
        except TooManyParked:
            return False
        try:
            if place.was_parked:
                timer = loop.call_later(query.timeout, wake)
                client.on_close(wake)
                try:
                    await woken
                finally:
                    timer.cancel()
                    client.on_close(None)
        finally:
            place.close()
        return not client.has_left

    async def _made(
        self,
        request: Request,
        client: Client,
        key: Hashable,
        target: str,
        *,
        has_waited: bool = False,
    ) -> Repeat | None:
        """Return the answer that is kept now, made if necessary; None if it is not kept."""
        for _ in range(_TRIES):
            if (repeat := self._direct.repeats.find(key, has_waited=has_waited)) is not None:
                return repeat
            making = self._making.get(key)
            if making is None:
                making = self._making[key] = _Making()
                await self._make(making, request, client, key, target)
            else:
                woken = asyncio.get_running_loop().create_future()
                making.waiting.append(woken)
                await woken
            if not making.may_be_kept:
                return None
        return None

    async def _make(
        self, making: _Making, request: Request, client: Client, key: Hashable, target: str
    ) -> None:
        """Have an answer made by the flow, for the same request without its wait."""
        query = {name: value for name, value in request.query.items() if name not in OF_WAITS}
        parameters = [pair for pair in request.parameters if pair[0] not in OF_WAITS]
        exchange = self._direct.exchange(request.changed(query=query, parameters=parameters))
        exchange.key = key
        exchange.turn.is_of_woken = True
        pool = self._tasks.pool_of(request)
        try:
            steps = self._direct.keep(exchange, target)
            making.may_be_kept = await self._tasks.run(steps, client, pool)
        finally:
            exchange.turn.end()
            del self._making[key]
            for woken in making.waiting:
                self._wakes.add(woken)
