"""Parks requests as tasks of an event loop, while their steps are taken in threads."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from plugind.api.request import Pause, Request, Steps
from plugind.errors import ClientGone
from plugind.health.threads import OwnedThread
from plugind.serve.gate import Gate
from plugind.serve.loop_turns import LoopTurns
from plugind.serve.mailbox import Mailbox, Signal
from plugind.serve.pool import Pool
from plugind.serve.runs import Client, Run

T = TypeVar("T")

READERS = 4
"""Reads that compete for the interpreter; more would take turns at it more often."""

READERS_MAXIMUM = 256
"""Reads in work, those included that wait for the store or a lock."""

VITAL_MAXIMUM = 16

REPORTERS = 4
"""Small reports that compete for the interpreter. They hold no thread while they are committed:
with a thread for each they would change threads three times as often."""

OF_ADDRESS = 2
"""Reads of one address in work: one is sent while the other is answered."""

WRITES_OF_ADDRESS = 32
"""Writes of one address in work, with those that wait for their commit, which they then share."""

QUICK_BYTES = 4 * 2**10
"""Bytes of the largest heartbeat that begins in the event loop."""

_HEALTH = "/v1/agent/health"
_REPORT = re.compile("/v1/node/[^/]+")
_HEARTBEAT = re.compile("/v1/node/[^/]+/heartbeat")


class Tasks:
    """Takes the steps of requests in threads, and parks them in tasks.

    ``writers`` is how many requests that write may be in work at a time.
    """

    def __init__(self, writers: int) -> None:
        self.mailbox = Mailbox()
        self._reads = Pool("reader", self.mailbox, READERS, READERS_MAXIMUM)
        self._vital = Pool("vital reader", self.mailbox, 1, VITAL_MAXIMUM)
        self._writes = Pool("writer", self.mailbox, writers, writers)
        self._reports = Pool("reporter", self.mailbox, REPORTERS, writers, self._writes)
        self._pools = self._vital, self._reads, self._reports, self._writes
        self._gate = Gate(
            {
                self._vital: OF_ADDRESS,
                self._reads: OF_ADDRESS,
                self._writes: WRITES_OF_ADDRESS,
            }
        )
        self.askers = self._gate.askers
        self.loop_turns = LoopTurns(self.mailbox, self.askers)

    @property
    def threads(self) -> list[OwnedThread]:
        """Return the threads that were started."""
        return [thread for pool in self._pools for thread in pool.threads]

    def signal(self) -> Signal:
        """Return a signal that is not set; may be called in any thread."""
        return Signal()

    def pool_of(self, request: Request) -> Pool:
        """Return the threads for a request: reads that need nothing of the store, such as health,
        find one also while all others wait for it. Writes that are no reports hold a thread until
        they are committed, so that each has one: those without would be committed later."""
        if request.method not in ("GET", "HEAD"):
            is_report = request.method == "PUT" and _REPORT.fullmatch(request.path)
            return self._reports if is_report else self._writes
        is_vital = request.path == _HEALTH or "stale" in request.query
        return self._vital if is_vital else self._reads

    def close(self) -> None:
        """End the threads, each after what it has in work."""
        for pool in self._pools:
            pool.close()

    async def answer(self, steps: Steps[T], request: Request, client: Client, pool: Pool) -> T:
        """Take the steps of a request once it may be in work, up to ``client.close``. The arguments
        and what is raised are as for ``run``."""
        pause = None
        try:
            if _is_quick(request):
                await self.loop_turns.enter(client.address)
                try:
                    pause = next(steps)
                except StopIteration as end:
                    done: T = end.value
                    return done
            # Reports count as the other writes do.
            await self._gate.enter(client, pool.beside or pool)
        except BaseException:
            steps.close()
            raise
        return await self.run(steps, client, pool, pause)

    async def run(
        self, steps: Steps[T], client: Client, pool: Pool, pause: Pause | None = None
    ) -> T:
        """Take steps, from a ``pause`` on to which they have come or from their beginning, with
        their pauses, and return what they return.

        Raise what they raise, such as the ClientGone that is raised in them when the client has
        left. Where the task is cancelled, the steps are closed.
        """
        run = Run(steps, client, pool, self.mailbox, pause)
        try:
            result: T = await run.future
        except asyncio.CancelledError:
            run.abandon()
            raise
        finally:
            run.unwatch()
        return result

    async def call(self, function: Callable[[], T], client: Client, pool: Pool) -> T:
        """Return what a function returns in a thread."""
        return await self.run(_step(function), client, pool)

    async def part(
        self, parts: Iterator[bytes | Pause], client: Client, pool: Pool
    ) -> bytes | None:
        """Return the next part of a body, after its pauses; None at its end, or once the client
        has left where that ends a pause."""
        return await self.run(_next(parts), client, pool)


def _is_quick(request: Request) -> bool:
    """Return whether a request's first step takes less time than to hand it to a thread, as that of
    a small heartbeat does."""
    return (
        request.method == "PUT"
        and request.content_length <= QUICK_BYTES
        and _HEARTBEAT.fullmatch(request.path) is not None
    )


def _step(function: Callable[[], T]) -> Steps[T]:
    yield from ()
    return function()


def _next(parts: Iterator[bytes | Pause]) -> Steps[bytes | None]:
    for part in parts:
        if not isinstance(part, Pause):
            return part
        try:
            yield part
        except ClientGone:
            return None
    return None
