"""granian in this process, on a listening socket."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.net import SocketHolder
from granian.server.embed import Server as Granian

from plugind.serve.asgi import Asgi
from plugind.serve.embedded import Embedded

_BUFFER = 408 * 2**10
"""Bytes of an answer that are sent in one step: with a smaller buffer, a list of 1,000 plugins
takes half as long again. A request's head may have as many before the application sees it."""

_LOG_CONFIG = {"incremental": True, "formatters": {}, "handlers": {}, "loggers": {}}
"""Leaves the log handlers of the process alone, which granian would replace."""


class _OnSocket(Granian):  # type: ignore[misc]
    """granian on a socket that already listens."""

    def __init__(self, sock: socket.socket, **options: Any) -> None:
        super().__init__(**options)
        self._listening = sock

    def _init_shared_socket(self) -> None:
        is_unix = self._listening.family == socket.AF_UNIX
        # A duplicate, because granian closes the descriptor when it ends.
        self._shd = SocketHolder(os.dup(self._listening.fileno()), is_unix, self.backlog)


class GranianServer(Embedded):
    """granian; at most ``places`` connections are served, and as many wait to be accepted."""

    def __init__(self, asgi: Asgi, sock: socket.socket, places: int, head_timeout: float) -> None:
        super().__init__(asgi, "granian")
        self._server = _OnSocket(
            sock,
            target=self.application,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(
                header_read_timeout=int(head_timeout * 1000), max_buffer_size=_BUFFER
            ),
            websockets=False,
            backlog=places,
            backpressure=places,
            log_level=LogLevels.error,
            log_dictconfig=_LOG_CONFIG,
        )

    async def _serve(self) -> None:
        with suppress(TimeoutError):  # the grace period for requests in progress is over
            await self._server.serve()

    def _end(self, grace: float) -> None:
        self._server.workers_kill_timeout = grace
        self._server.stop()
