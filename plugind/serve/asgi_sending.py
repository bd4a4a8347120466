"""Sends answers through ASGI servers: whole, in parts, or as streams."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote

from plugind import logs
from plugind.api.direct import Answer
from plugind.api.repeats import Repeat
from plugind.api.reply import error_reply, rendered
from plugind.api.request import Stream
from plugind.api.scope import Head
from plugind.errors import ClientGone
from plugind.health import Hits
from plugind.serve.limits import ConnectionLimits
from plugind.serve.pool import Pool
from plugind.serve.runs import Client
from plugind.serve.tasks import Tasks

Send = Callable[[dict[str, Any]], Awaitable[None]]
"""ASGI's function that sends a message of an answer."""

_CLOSE = (b"connection", b"close")
_URL_CHARACTERS = "%!#$&'()*+,/:;=?@[]~"
_WITHOUT_BODY = (204, 304)

_log = logs.get("server")


class Sender:
    """Sends the answer to one request, and drops the rest if the client leaves or takes nothing."""

    __slots__ = ("_client", "_has_begun", "_head", "_hits", "_limits", "_send")

    def __init__(
        self, head: Head, client: Client, send: Send, limits: ConnectionLimits, hits: Hits
    ) -> None:
        self._head = head
        self._client = client
        self._send = send
        self._limits = limits
        self._hits = hits
        self._has_begun = False

    async def send(self, answer: Answer, tasks: Tasks, pool: Pool) -> None:
        """Send an answer; if it has parts, they are made in the threads of ``pool``."""
        with suppress(ClientGone):
            if isinstance(answer.body, bytes):
                await self.whole(answer)
            else:
                await self._parts(answer, tasks, pool)

    async def whole(self, answer: Answer, *, is_last: bool = False) -> None:
        """Send an answer whose body is whole. ``is_last``: close the connection after it."""
        body = answer.body
        assert isinstance(body, bytes)
        start = self._start(answer, len(body), is_last=is_last)
        await self._send_in_time(start, _part(b"" if self._head.method == "HEAD" else body))

    async def again(self, repeat: Repeat, contact: Mapping[str, str]) -> None:
        """Send a repeated answer; ``contact`` has the headers about the store."""
        again = repeat.form(Again)
        with suppress(ClientGone):
            await self._send_in_time(again.start(contact), again.body)

    async def give_up(self) -> None:
        """Answer a request that the stopping server no longer waits for with status 503, unless its
        answer has begun."""
        if self._has_begun:
            return
        reply = error_reply("the server stops; try again", 503, headers={"Retry-After": "1"})
        request = self._head.request(b"", self._client)
        with suppress(ClientGone):
            await self.whole(Answer(*rendered(reply, request)), is_last=True)

    async def _parts(self, answer: Answer, tasks: Tasks, pool: Pool) -> None:
        """Send an answer in parts, as they are made."""
        body = answer.body
        assert not isinstance(body, bytes)
        if isinstance(body, Stream):
            parts, close = iter(body.parts), body.close
        else:
            parts, close = iter(body), getattr(body, "close", _nothing)
        try:
            await self._send_in_time(self._start(answer))
            while self._head.method != "HEAD" and not self._client.has_left:
                part = await tasks.part(parts, self._client, pool)
                if part is None:
                    break
                if part:
                    await self._send_in_time(_part(part, more=True))
            await self._send_in_time(_part(b""))
        finally:
            pool.submit(partial(_close, close), self._client.address)

    async def _send_in_time(self, *messages: dict[str, Any]) -> None:
        """Send messages. Raise ClientGone if the client has left, or has not taken them within
        ``send_timeout``."""
        if self._client.has_left:
            raise ClientGone("the client left before it had the whole answer")
        self._has_begun = True
        try:
            async with asyncio.timeout(self._limits.send_timeout):
                for message in messages:
                    await self._send(message)
        except TimeoutError:
            self._hits.add("send_timeout", address=self._head.remote)
            raise ClientGone("the client took nothing of the answer") from None

    def _start(
        self, answer: Answer, size: int | None = None, *, is_last: bool = False
    ) -> dict[str, Any]:
        """Return the message of an answer's head; its body has ``size`` bytes (None: unknown)."""
        headers = _encoded(answer.headers)
        if size is not None and answer.status not in _WITHOUT_BODY:
            headers.append((b"content-length", b"%d" % size))
        if is_last or self._head.has_two_lengths:
            headers.append(_CLOSE)
        return {"type": "http.response.start", "status": answer.status, "headers": headers}


class Again:
    """The ASGI messages of a repeated answer."""

    __slots__ = ("_contact", "_headers", "_start", "_status", "body")

    def __init__(self, repeat: Repeat) -> None:
        self._status = repeat.status
        self._headers = _encoded(repeat.headers)
        if repeat.status not in _WITHOUT_BODY:
            self._headers.append((b"content-length", b"%d" % len(repeat.body)))
        self._contact: Mapping[str, str] = {}
        self._start: dict[str, Any] = {}
        self.body = _part(b"" if repeat.is_head else repeat.body)

    def start(self, contact: Mapping[str, str]) -> dict[str, Any]:
        """Return the message of the head; ``contact`` has the headers about the store."""
        if contact is not self._contact:
            headers = [*self._headers, *_encoded(contact)]
            self._start = {
                "type": "http.response.start",
                "status": self._status,
                "headers": headers,
            }
            self._contact = contact
        return self._start


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [
        (name.lower().encode("latin1"), _value(name, value).encode("latin1"))
        for name, value in headers.items()
    ]


def _part(part: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": part, "more_body": more}


def _value(name: str, value: str) -> str:
    """Return the value of a header; in a URL, escape the characters that a URL must not contain."""
    return quote(value, safe=_URL_CHARACTERS) if name == "Location" else value


def _close(close: Callable[[], object]) -> None:
    try:
        close()
    except Exception as error:
        _log.error("an answer cannot be closed", exc_info=error)


def _nothing() -> None: ...
