"""The ASGI lifespan protocol: the bare functions do nothing at a server's start and end."""

from __future__ import annotations

from typing import Any


async def lifespan(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
