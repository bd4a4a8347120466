"""Parks requests as tasks of an event loop; their steps are taken in threads.

While a request pauses it holds no thread: its task waits for the signal of the pause or, where that
ends it, for the client to leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeVar

from plugind.api.request import Pause, Request, Steps
from plugind.errors import ClientGone
from plugind.health.threads import OwnedThread
from plugind.serve.mailbox import Mailbox, Signal
from plugind.serve.pool import Pool

T = TypeVar("T")

Receive = Callable[[], Any]
"""ASGI's function that awaits the next message about a request."""

READERS = 4
"""Reads that compete for the interpreter; more would take turns at it more often."""

READERS_MAXIMUM = 256
"""Reads in work, those included that wait for the store or a lock."""

VITAL_MAXIMUM = 16

_HEALTH = "/v1/agent/health"


class Client:
    """The client of a request; ``leaves`` ends its wait."""

    def __init__(self, receive: Receive, address: str = "") -> None:
        self.address = address
        self.has_left = False
        self._receive = receive
        self._watch: asyncio.Task[None] | None = None
        self._call: Callable[[], None] | None = None

    def verified_node(self) -> None:
        """Do nothing: the HTTP server knows no limits that spare agents."""

    def waits(self) -> None:
        """Do nothing: a request that waits is in nobody's way."""

    def on_close(self, call: Callable[[], None] | None) -> None:
        """Call ``call`` in the loop's thread once the client has left; None takes that back."""
        self._call = call
        if call is None:
            return
        if self.has_left:
            call()
        elif self._watch is None:
            self._watch = asyncio.ensure_future(self._until_it_leaves())

    def close(self) -> None:
        """End the look at whether the client leaves."""
        if self._watch is not None:
            self._watch.cancel()

    async def _until_it_leaves(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.leaves()

    def leaves(self) -> None:
        """Note that the client has left."""
        self.has_left = True
        if self._call is not None:
            self._call()


class _Taken(NamedTuple):
    """How far steps were taken: to a pause, or (None) to their ``end``, with what they return."""

    pause: Pause | None
    end: Any = None


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
        return Signal(self.mailbox)

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
        left.
        """
        take: Callable[[], _Taken] = partial(_take, steps)
        while True:
            taken: _Taken = await _result(pool, take, client, steps.close)
            if taken.pause is None:
                result: T = taken.end
                return result
            try:
                has_left = await sleep(taken.pause, client)
            except asyncio.CancelledError:
                pool.submit(steps.close, client.address)
                raise
            take = partial(_leave, steps) if has_left else partial(_take, steps)

    async def part(
        self, parts: Iterator[bytes | Pause], client: Client, pool: Pool
    ) -> bytes | None:
        """Return the next part of a body, after its pauses; None at its end, or once the client
        has left where that ends a pause."""
        while True:
            job = partial(next, parts, None)
            part: bytes | Pause | None = await _result(pool, job, client, lambda: None)
            if not isinstance(part, Pause):
                return part
            if await sleep(part, client):
                return None


async def _result(
    pool: Pool, job: Callable[[], Any], client: Client, abandon: Callable[[], object]
) -> Any:
    """Return what a job returns in a thread. Where the task is cancelled meanwhile, have
    ``abandon`` called after the job, for nothing can interrupt that."""
    future = pool.submit(job, client.address)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        future.add_done_callback(lambda done: pool.submit(abandon, client.address))
        raise


def _take(steps: Generator[Pause, None, Any]) -> _Taken:
    try:
        return _Taken(next(steps))
    except StopIteration as end:
        return _Taken(None, end.value)


def _leave(steps: Generator[Pause, None, Any]) -> _Taken:
    try:
        return _Taken(steps.throw(ClientGone("the client closed the connection")))
    except StopIteration as end:
        return _Taken(None, end.value)


async def sleep(pause: Pause, client: Client) -> bool:
    """Wait until a pause is over; return whether the client has left, if that ends it."""
    signal = pause.signal
    assert isinstance(signal, Signal)
    if not pause.ends_with_client:
        await signal.wait(pause.timeout)
        return False
    client.on_close(signal.end)
    try:
        if not client.has_left:
            await signal.wait(pause.timeout)
    finally:
        client.on_close(None)
    return client.has_left
