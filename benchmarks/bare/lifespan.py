"""The start and the end of an ASGI server, at which the bare functions do nothing."""

from __future__ import annotations

from typing import Any


async def lifespan(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
