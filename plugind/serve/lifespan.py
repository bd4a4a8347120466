"""The start and the stop of an ASGI application (ASGI's lifespan protocol)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from plugind import logs
from plugind.errors import PlugindError
from plugind.printable import one_line
from plugind.serve.asgi_sending import Send
from plugind.serve.runs import Receive

_log = logs.get("server")


async def lifespan(
    receive: Receive,
    send: Send,
    start: Callable[[], Awaitable[Any]],
    stop: Callable[[], Awaitable[Any]],
) -> None:
    """Call ``start`` and ``stop`` when the server asks for it.

    If ``start`` raises an error, log it (a PlugindError in one line) and have the server end.
    """
    await receive()
    try:
        await start()
    except Exception as error:
        if isinstance(error, PlugindError):
            text = one_line(str(error))
            _log.error("the server cannot start", reason=text)
        else:
            text = "internal error; the log says more"
            _log.error("the server cannot start by a fault of plugind's own", exc_info=error)
        await send({"type": "lifespan.startup.failed", "message": text})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await stop()
    await send({"type": "lifespan.shutdown.complete"})
