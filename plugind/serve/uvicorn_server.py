"""uvicorn in this process, on a socket that listens."""

from __future__ import annotations

import math
import socket

from uvicorn import Config
from uvicorn import Server as Uvicorn

from plugind.serve.asgi import Asgi
from plugind.serve.embedded import Embedded
from plugind.serve.http_server import HEAD_MAXIMUM


class UvicornServer(Embedded):
    """uvicorn; ``places`` is how many connections may wait to be accepted."""

    def __init__(self, asgi: Asgi, sock: socket.socket, places: int, idle_timeout: float) -> None:
        super().__init__(asgi, "uvicorn")
        self._sock = sock
        self._server = Uvicorn(
            Config(
                self.application,
                interface="asgi3",
                lifespan="on",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # plugind itself knows whose word to believe
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
