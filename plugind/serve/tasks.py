"""Parks requests as tasks of an event loop, while their steps run in threads."""

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
"""Reads that compete for the interpreter; more of them would only switch threads more often."""

READERS_MAXIMUM = 256
"""Reads in progress, including those that wait for the store or a lock."""

VITAL_MAXIMUM = 16

REPORTERS = 4
"""Small reports that compete for the interpreter. They hold no thread while they are committed:
with a thread for each, threads would be switched three times as often."""

OF_ADDRESS = 2
"""Reads in progress for one address: one is sent while the other is answered."""

WRITES_OF_ADDRESS = 32
"""Writes in progress for one address, including those that wait for a commit, which they share."""

QUICK_BYTES = 4 * 2**10
"""Bytes of the largest heartbeat that begins in the event loop."""

_HEALTH = "/v1/agent/health"
_REPORT = re.compile("/v1/node/[^/]+")
_HEARTBEAT = re.compile("/v1/node/[^/]+/heartbeat")


class Tasks:
    """Runs the steps of requests in threads, and parks the requests in tasks.

    ``writers`` is how many requests that write may be in progress at a time.
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
        """Return the threads that have been started."""
        return [thread for pool in self._pools for thread in pool.threads]

    def signal(self) -> Signal:
        """Return a signal that is not set; may be called in any thread."""
        return Signal()

    def pool_of(self, request: Request) -> Pool:
        """Return the threads for a request.

        Reads that need nothing from the store, such as health, find a thread even while all others
        wait for the store. Writes that are not reports hold a thread until they are committed, so
        there is one for each: a write without a thread would be committed later.
        """
        if request.method not in ("GET", "HEAD"):
            is_report = request.method == "PUT" and _REPORT.fullmatch(request.path)
            return self._reports if is_report else self._writes
        is_vital = request.path == _HEALTH or "stale" in request.query
        return self._vital if is_vital else self._reads

    def close(self) -> None:
        """End the threads, each after its current job."""
        for pool in self._pools:
            pool.close()

    async def answer(self, steps: Steps[T], request: Request, client: Client, pool: Pool) -> T:
        """Run the steps of a request once it may begin; it counts as in progress until
        ``client.close``. The arguments and the errors raised are as for ``run``."""
        pause = None
        try:
            if _is_quick(request):
                await self.loop_turns.enter(client.address)
                try:
                    pause = next(steps)
                except StopIteration as end:
                    done: T = end.value
                    return done
            # Reports count as other writes do.
            await self._gate.enter(client, pool.beside or pool)
        except BaseException:
            steps.close()
            raise
        return await self.run(steps, client, pool, pause)

    async def run(
        self, steps: Steps[T], client: Client, pool: Pool, pause: Pause | None = None
    ) -> T:
        """Run steps with their pauses, from the beginning or after ``pause`` if they have already
        reached one, and return their result.

        Raise what they raise. When the client has left, ClientGone is raised in the steps. If the
        task is cancelled, the steps are closed.
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
        """Call a function in a thread and return its result."""
        return await self.run(_step(function), client, pool)

    async def part(
        self, parts: Iterator[bytes | Pause], client: Client, pool: Pool
    ) -> bytes | None:
        """Return the next part of a body, after its pauses. Return None at the end of the body, or
        if the client has left during a pause that this ends."""
        return await self.run(_next(parts), client, pool)


def _is_quick(request: Request) -> bool:
    """Return whether a request's first step takes less time than handing it to a thread, as with a
    small heartbeat."""
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
