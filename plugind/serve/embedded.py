"""Runs an ASGI server in a thread of this process."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from contextlib import suppress

from plugind.api.scope import Scope
from plugind.errors import ListenError
from plugind.health.threads import OwnedThread
from plugind.serve.asgi import Asgi
from plugind.serve.asgi_sending import Send
from plugind.serve.lifespan import lifespan
from plugind.serve.runs import Receive

_START_TIMEOUT = 30.0
_END_TIMEOUT = 2.0  # seconds beyond the grace period for requests


class Embedded(ABC):
    """An ASGI server that runs from ``start`` until ``stop``, with its loop in its own thread."""

    def __init__(self, asgi: Asgi, name: str) -> None:
        self._asgi = asgi
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._is_ending = False
        self._thread = OwnedThread("http", self._run, restarts=False, died=self._died)

    @property
    def threads(self) -> list[OwnedThread]:
        """Return the thread that serves the connections, and the threads that answer requests."""
        return [self._thread, *self._asgi.tasks.threads]

    def start(self) -> None:
        """Begin to serve. Raise ListenError if that fails."""
        self._thread.start()
        self._ready.wait(_START_TIMEOUT)
        if self._loop is None:
            raise ListenError(f"{self._name} did not start; the log says why")

    def stop(self, grace: float = 10.0) -> None:
        """Accept no more connections, finish the requests in progress, and end.

        That takes at most ``grace`` seconds. The caller must have woken the parked queries before.
        """
        self._is_ending = True
        if self._loop is not None and self._thread.is_alive():
            with suppress(RuntimeError):  # the server has ended by itself, and its loop is closed
                self._loop.call_soon_threadsafe(self._end, grace)
        self._thread.join(grace + _END_TIMEOUT)
        self._asgi.tasks.close()

    def application(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handle an ASGI scope: a request, or the server's lifespan."""
        if scope["type"] == "http":
            return self._asgi(scope, receive, send)
        # The servers are configured without WebSockets, so this is the only other type.
        return lifespan(receive, send, self._begun, self._ended)

    async def _begun(self) -> None:
        loop = asyncio.get_running_loop()
        self._asgi.tasks.mailbox.attach(loop)
        self._loop = loop
        self._ready.set()

    async def _ended(self) -> None:
        """Note that no more requests come. The services are stopped by the code that made them."""
        self._loop = None

    def _run(self) -> None:
        asyncio.run(self._serve())
        if not self._is_ending:
            raise RuntimeError(f"the HTTP server {self._name} ended by itself")

    def _died(self, error: BaseException) -> None:
        self._ready.set()

    @abstractmethod
    async def _serve(self) -> None:
        """Serve until ``_end`` was called and the requests in progress are answered."""

    @abstractmethod
    def _end(self, grace: float) -> None:
        """Begin to stop, within at most ``grace`` seconds; called in the loop's thread."""
