"""The API as an ASGI application: parked queries and streams are tasks, and hold no thread.

Each request passes through the flow in steps, which run in a bounded number of threads. Flask is
not used, because its views hold a thread from beginning to end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable
from contextlib import suppress
from functools import partial
from http import HTTPStatus

from plugind.api.direct import Answer, Direct
from plugind.api.exchange import Exchange
from plugind.api.repeats import key_once_woken
from plugind.api.request import Request, Steps
from plugind.api.scope import Head, Scope, forwarded_in, key_in, remote_of
from plugind.errors import ClientGone
from plugind.health import Hits
from plugind.serve.asgi_bodies import Bodies, Reading, Refused
from plugind.serve.asgi_sending import Again, Send, Sender
from plugind.serve.limits import HEAD_MAXIMUM, ConnectionLimits
from plugind.serve.request import REFUSALS
from plugind.serve.runs import Client, Receive
from plugind.serve.tasks import Tasks
from plugind.serve.watches import Watches
from plugind.wire.addresses import client_of


class Asgi:
    """The application, for HTTP scopes; ``tasks`` belong to the event loop that it runs in."""

    def __init__(self, direct: Direct, tasks: Tasks, limits: ConnectionLimits, hits: Hits) -> None:
        self.tasks = tasks
        self._direct = direct
        self.limits = limits
        self.hits = hits
        self._bodies = Bodies(direct, limits, hits)
        self._watches = Watches(direct, tasks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.monotonic()
        key, repeats = key_in(scope), self._direct.repeats
        repeat = repeats.find(key)
        if repeat is not None and (crowd := self._crowd_of(scope, began)) is not None:
            await self.tasks.loop_turns.enter(crowd)
            repeat = repeats.find(key)  # its token may have been revoked meanwhile
        if repeat is not None:
            again = repeat.form(Again)
            start = again.start(repeats.contact_headers())
            repeats.given(repeat, remote_of(scope), began)
            await send(start)
            await send(again.body)
            return
        head = Head(scope, self.limits.trusted_proxies)
        client = Client(receive, head.client)
        sender = Sender(head, client, send, self.limits, self.hits)
        reading = self._bodies.of(head, receive, client) if head.has_body else None
        try:
            if head.size > HEAD_MAXIMUM:
                status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
                text = f"the head is longer than {HEAD_MAXIMUM} bytes"
                raise self._bodies.refused(head, client, status, text)
            await self._answer(head, client, sender, reading, key)
        except Refused as refused:
            with suppress(ClientGone):
                if reading is not None:
                    reading.close()
                    await reading.drop()
                await sender.whole(refused.answer, is_last=True)
        except ClientGone:
            pass
        except asyncio.CancelledError:  # the server is stopping, and has waited long enough
            await sender.give_up()
        finally:
            client.close()
            if reading is not None:
                reading.close()

    def _crowd_of(self, scope: Scope, now: float) -> str | None:
        """Return the address of a read that has to wait for a turn of the loop, since many came
        from it just now and others ask, too; None if it need not wait."""
        address = remote_of(scope)
        if trusted := self.limits.trusted_proxies:
            address = client_of(address, forwarded_in(scope), trusted)
        return None if self.tasks.askers.may_be_at_once(address, now) else address

    async def _answer(
        self, head: Head, client: Client, sender: Sender, reading: Reading | None, key: Hashable
    ) -> None:
        """Read the rest of a request and answer it. Raise Refused and ClientGone."""
        request = head.request(b"", client)
        pool = self.tasks.pool_of(request)
        if reading is not None:
            call = partial(self.tasks.call, client=client, pool=pool)
            request = await reading.request(call)
        if request.may_block and key is not None:
            if await self._watched(head, request, client, sender, key_once_woken(key, request)):
                return
            key = None
        exchange = self._direct.exchange(request)
        exchange.key = key
        try:
            steps = self._steps(exchange, head)
            answer = await self.tasks.answer(steps, request, client, pool)
            client.is_refused = str(answer.status) in REFUSALS
            await sender.send(answer, self.tasks, pool)
        finally:
            exchange.turn.end()

    async def _watched(
        self, head: Head, request: Request, client: Client, sender: Sender, key: Hashable
    ) -> bool:
        """Answer a blocking query with a kept answer once its wait is over; return whether there is
        such an answer."""
        began = time.monotonic()
        repeat, parked = await self._watches.answer(request, client, key, head.target)
        if repeat is None:
            return False
        repeats = self._direct.repeats
        repeats.given_after_wait(repeat, request, time.monotonic() - began, parked)
        await sender.again(repeat, repeats.contact_headers())
        return True

    def _steps(self, exchange: Exchange, head: Head) -> Steps[Answer]:
        """Return the answer. If its body is whole, end the turn here, because the ASGI server sends
        such an answer without work for the interpreter."""
        answer = yield from self._direct.answer(exchange, head.target)
        if isinstance(answer.body, bytes):
            exchange.turn.end()
        return answer
