"""uvicorn in this process, on a listening socket."""

from __future__ import annotations

import asyncio
import math
import socket
from functools import partial
from typing import Any

from uvicorn import Config
from uvicorn import Server as Uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from plugind.serve.asgi import Asgi
from plugind.serve.embedded import Embedded
from plugind.serve.limits import HEAD_MAXIMUM

_LOOKS = 4
"""Checks of a client's progress within ``send_timeout``."""


class _Protocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]
    """A connection that ends if its client takes nothing of an answer for ``send_timeout``. uvicorn
    alone would wait forever, and so would the task of the next request."""

    def __init__(self, asgi: Asgi, **options: Any) -> None:
        super().__init__(**options)
        self._asgi = asgi
        self._waiting: asyncio.TimerHandle | None = None
        self._left = 0  # bytes to be sent at the last check
        self._since = 0.0

    def pause_writing(self) -> None:
        """Begin to watch a client that takes data more slowly than it is sent."""
        super().pause_writing()
        self._left, self._since = -1, self.loop.time()
        self._look()

    def resume_writing(self) -> None:
        """Stop watching the client."""
        super().resume_writing()
        self._rest()

    def connection_lost(self, error: Exception | None) -> None:
        """Stop watching the client."""
        super().connection_lost(error)
        self._rest()

    def _look(self) -> None:
        timeout, now = self._asgi.limits.send_timeout, self.loop.time()
        left = self.transport.get_write_buffer_size()
        if left != self._left:
            self._left, self._since = left, now
        elif now - self._since >= timeout:
            address = self.client[0] if self.client else ""
            self._asgi.hits.add("send_timeout", address=address)
            self.transport.abort()
            return
        self._waiting = self.loop.call_later(timeout / _LOOKS, self._look)

    def _rest(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


class UvicornServer(Embedded):
    """uvicorn; ``places`` is how many connections may wait to be accepted."""

    def __init__(self, asgi: Asgi, sock: socket.socket, places: int, idle_timeout: float) -> None:
        super().__init__(asgi, "uvicorn")
        self._sock = sock
        self._server = Uvicorn(
            Config(
                self.application,
                interface="asgi3",
                http=partial(_Protocol, asgi),  # type: ignore[arg-type]
                lifespan="on",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # plugind itself decides which proxies to trust
                backlog=places,
                timeout_keep_alive=math.ceil(idle_timeout),
                h11_max_incomplete_event_size=HEAD_MAXIMUM,
            )
        )

    async def _serve(self) -> None:
        await self._server.serve(sockets=[self._sock])

    def _end(self, grace: float) -> None:
        self._server.config.timeout_graceful_shutdown = math.ceil(grace)
        self._server.should_exit = True
