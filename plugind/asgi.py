"""``plugind.asgi:app``: the application for any ASGI server, such as granian and uvicorn.

PLUGIND_CONFIG names the configuration. The services exist from the lifespan's startup to its
shutdown, so a server's parent process, which only imports this module, has none of them.
"""

from __future__ import annotations

import asyncio

import plugind.without_rich  # noqa: F401 - before structlog is imported
from plugind.api.scope import Scope
from plugind.hosted import Hosted
from plugind.serve.asgi import Asgi
from plugind.serve.asgi_application import create_asgi
from plugind.serve.asgi_sending import Send
from plugind.serve.lifespan import lifespan
from plugind.serve.runs import Receive
from plugind.serve.stop_signals import heed

_NOT_STARTED = b"plugind was not started: switch the lifespan protocol of this server on\n"


class App:
    """The application as ASGI servers call it."""

    def __init__(self) -> None:
        self._hosted: Hosted | None = None
        self._asgi: Asgi | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI scope: a request, or the server's lifespan."""
        if scope["type"] == "lifespan":
            await lifespan(receive, send, self._start, self._stop)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif self._asgi is not None:
            await self._asgi(scope, receive, send)
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": _NOT_STARTED})

    async def _start(self) -> None:
        self._hosted = Hosted()
        self._asgi = create_asgi(self._hosted.services, self._hosted.address)
        self._asgi.tasks.mailbox.attach(asyncio.get_running_loop())
        heed(self._hosted.services.wake, self._hosted.reload)

    async def _stop(self) -> None:
        if self._hosted is not None and self._asgi is not None:
            self._hosted.close()
            self._asgi.tasks.close()


app = App()
