"""Reads request bodies from ASGI servers, within limits of time and memory.

1. If a body is large, announces no size, or its client waits for ``100 Continue``, the request is
   checked by its head before any of the body is read.
2. A body has a deadline that arriving bytes do not extend.
3. Memory for large bodies is bounded over all requests; bodies that wait for it are not read.
4. A client that is refused while it sends gets its answer: before that, what it still sends is read
   and dropped for a moment, because closing a connection with unread bytes sends a reset, which
   destroys the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from plugind.api.direct import Answer, Direct
from plugind.api.reply import error_reply, rendered
from plugind.api.request import Request
from plugind.api.scope import Head
from plugind.errors import ClientGone
from plugind.health import Hits
from plugind.serve.bodies import SMALL_MAXIMUM, BodyMemory
from plugind.serve.limits import (
    BODY_BYTES_PER_SECOND,
    LINGER_BYTES,
    LINGER_SECONDS,
    ConnectionLimits,
)
from plugind.serve.request import UNCHECKED_MAXIMUM
from plugind.serve.runs import Client, Receive

Check = Callable[[], int | Answer]
Run = Callable[[Check], Awaitable[int | Answer]]
"""Calls a function in a thread, and awaits its result."""


class Refused(Exception):
    """The answer to a request whose body is not read to its end."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Bodies:
    """Makes the readers of bodies, which share a limit on memory."""

    def __init__(self, direct: Direct, limits: ConnectionLimits, hits: Hits) -> None:
        self.direct = direct
        self.limits = limits
        self.hits = hits
        self.memory: BodyMemory[Reading] = BodyMemory(limits.max_body_memory)

    def of(self, head: Head, receive: Receive, client: Client) -> Reading:
        """Return the reader of one request's body."""
        return Reading(self, head, receive, client)

    def refused(self, head: Head, client: Client, status: int, text: str) -> Refused:
        """Record and return a refusal, which does not pass through the flow of requests."""
        self.direct.notes.refused(head.remote, head.method, head.path, status)
        reply = error_reply(text, status)
        return Refused(Answer(*rendered(reply, head.request(b"", client))))


class Reading:
    """Reads one body, and holds its memory until ``close``.

    ``share`` is the address whose share of memory the body uses, "" for none.
    """

    def __init__(self, bodies: Bodies, head: Head, receive: Receive, client: Client) -> None:
        self._bodies = bodies
        self._head = head
        self._receive = receive
        self._client = client
        self._maximum = UNCHECKED_MAXIMUM
        self._is_read = False  # to its end
        self._is_late = False
        self._room: asyncio.Future[None] | None = None
        self.share = "" if bodies.limits.trusts(head.remote) else head.remote

    async def request(self, run: Run) -> Request:
        """Return the request with its whole body.

        Raise Refused if the request is answered without its body, and ClientGone.
        """
        head, bodies = self._head, self._bodies
        if head.is_chunked or head.expects_continue or head.length > UNCHECKED_MAXIMUM:
            exchange = bodies.direct.exchange(head.request(None, self._client))
            found = await run(partial(bodies.direct.check_head, exchange, head.target))
            if not isinstance(found, int):
                raise Refused(found)
            self._maximum = found
        if not head.is_chunked and head.length > self._maximum:
            raise self._too_large()
        seconds = bodies.limits.body_timeout + head.length / BODY_BYTES_PER_SECOND
        try:
            async with asyncio.timeout(seconds):
                body = await self._read()
        except TimeoutError:
            self._is_late = True
            bodies.hits.add("body_timeout", address=head.remote)
            raise self._refused(408, f"the body did not come within {seconds:.0f} s") from None
        return head.request(body, self._client)

    def close(self) -> None:
        """Release the memory, and let bodies that waited for it go on."""
        if self._room is not None:
            for other in self._bodies.memory.release(self):
                other.go_on()

    def go_on(self) -> None:
        """Continue with the body, which has memory now."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def drop(self) -> None:
        """Read and drop what a refused client still sends, unless it waits for ``100 Continue`` or
        its deadline has passed."""
        if self._head.expects_continue or self._is_late:
            return
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while size < LINGER_BYTES and not self._is_read:
                    size += len(await self._part())

    async def _part(self) -> bytes:
        """Return the next part of the body. Raise ClientGone."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client left before it had sent the whole body")
        self._is_read = not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part

    async def _read(self) -> bytes:
        """Return the body. Raise Refused if it is too large, and ClientGone."""
        await self._make_room(self._head.length)
        parts, size = [], 0
        while not self._is_read:
            if part := await self._part():
                parts.append(part)
                size += len(part)
                if size > self._maximum:
                    raise self._too_large()
                await self._make_room(size)
        return b"".join(parts)

    async def _make_room(self, size: int) -> None:
        """Wait for memory once the body is large; for a chunked body, reserve the maximum."""
        if size <= SMALL_MAXIMUM or self._room is not None:
            return
        self._room = asyncio.get_running_loop().create_future()
        if self._bodies.memory.reserve(self, self._head.length or self._maximum):
            self.go_on()
        await self._room

    def _too_large(self) -> Refused:
        return self._refused(413, f"the body is larger than {self._maximum} bytes")

    def _refused(self, status: int, text: str) -> Refused:
        return self._bodies.refused(self._head, self._client, status, text)
