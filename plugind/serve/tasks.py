"""Parks requests as tasks of an event loop, while their steps are taken in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TypeVar

from plugind.api.request import Pause, Request, Steps
from plugind.errors import ClientGone
from plugind.health.threads import OwnedThread
from plugind.serve.mailbox import Mailbox, Signal
from plugind.serve.pool import Pool
from plugind.serve.runs import Client, Run

T = TypeVar("T")

READERS = 4
"""Reads that compete for the interpreter; more would take turns at it more often."""

READERS_MAXIMUM = 256
"""Reads in work, those included that wait for the store or a lock."""

VITAL_MAXIMUM = 16

_HEALTH = "/v1/agent/health"


class Tasks:
    """Takes the steps of requests in threads, and parks them in tasks.

    ``writers`` is how many requests that write may be in work at a time.
    """

    def __init__(self, writers: int) -> None:
        self.mailbox = Mailbox()
        self._reads = Pool("reader", self.mailbox, READERS, READERS_MAXIMUM)
        self._vital = Pool("vital reader", self.mailbox, 1, VITAL_MAXIMUM)
        self._writes = Pool("writer", self.mailbox, writers, writers)

    @property
    def threads(self) -> list[OwnedThread]:
        """Return the threads that were started."""
        pools = self._vital, self._reads, self._writes
        return [thread for pool in pools for thread in pool.threads]

    def signal(self) -> Signal:
        """Return a signal that is not set; may be called in any thread."""
        return Signal()

    def pool_of(self, request: Request) -> Pool:
        """Return the threads for a request: reads that need nothing of the store, such as health,
        find one also while all others wait for it."""
        if request.method not in ("GET", "HEAD"):
            return self._writes
        is_vital = request.path == _HEALTH or "stale" in request.query
        return self._vital if is_vital else self._reads

    def close(self) -> None:
        """End the threads, each after what it has in work."""
        for pool in (self._vital, self._reads, self._writes):
            pool.close()

    async def run(self, steps: Steps[T], client: Client, pool: Pool) -> T:
        """Take steps, with their pauses, and return what they return.

        Raise what they raise, such as the ClientGone that is raised in them when the client has
        left. Where the task is cancelled, the steps are closed.
        """
        run = Run(steps, client, pool, self.mailbox)
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
