"""The API as an ASGI application: parked queries and streams are tasks, and hold no thread.

Each request is driven through the flow by its steps, which are taken in a bounded number of
threads. Flask, whose views hold a thread from beginning to end, has no part in it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

from plugind.api.direct import Answer, Direct
from plugind.api.exchange import Exchange
from plugind.api.request import Steps
from plugind.api.scope import Head, Scope
from plugind.errors import ClientGone
from plugind.health import Hits
from plugind.serve.asgi_bodies import Bodies, Reading, Refused
from plugind.serve.asgi_sending import Send, Sender
from plugind.serve.limits import ConnectionLimits
from plugind.serve.runs import Client, Receive
from plugind.serve.tasks import Tasks


class Asgi:
    """The application, for scopes of HTTP; ``tasks`` are those of the loop that it runs in."""

    def __init__(self, direct: Direct, tasks: Tasks, limits: ConnectionLimits, hits: Hits) -> None:
        self.tasks = tasks
        self._direct = direct
        self._limits = limits
        self._hits = hits
        self._bodies = Bodies(direct, limits, hits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        head = Head(scope, self._limits.trusted_proxies)
        client = Client(receive, head.client)
        sender = Sender(head, client, send, self._limits, self._hits)
        reading = self._bodies.of(head, receive, client) if head.has_body else None
        try:
            await self._answer(head, client, sender, reading)
        except Refused as refused:
            with suppress(ClientGone):
                if reading is not None:
                    reading.close()
                    await reading.drop()
                await sender.whole(refused.answer, is_last=True)
        except ClientGone:
            pass
        except asyncio.CancelledError:  # the server ends, and has waited long enough
            await sender.give_up()
        finally:
            client.close()
            if reading is not None:
                reading.close()

    async def _answer(
        self, head: Head, client: Client, sender: Sender, reading: Reading | None
    ) -> None:
        """Read the rest of a request and answer it. Raise Refused and ClientGone."""
        request = head.request(b"", client)
        pool = self.tasks.pool_of(request)
        if reading is not None:
            call = partial(self.tasks.call, client=client, pool=pool)
            request = await reading.request(call)
        exchange = self._direct.exchange(request)
        try:
            answer = await self.tasks.run(self._steps(exchange, head), client, pool)
            await sender.send(answer, self.tasks, pool)
        finally:
            exchange.turn.end()

    def _steps(self, exchange: Exchange, head: Head) -> Steps[Answer]:
        """Return the answer. The turn of one that is whole ends here: a server of ASGI sends it
        without work for the interpreter."""
        answer = yield from self._direct.answer(exchange, head.target)
        if isinstance(answer.body, bytes):
            exchange.turn.end()
        return answer
