"""Connects the application to the HTTP server, with the limits from its settings."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

from plugind.api.flask_port import Api
from plugind.errors import ListenError, TokenNotFound
from plugind.intake.admission import large_places
from plugind.serve.allocator import return_large_blocks
from plugind.serve.channel import Channel
from plugind.serve.http_server import Server
from plugind.serve.limits import limits_of
from plugind.serve.request import Request
from plugind.serve.services import Services

PARKED_MAXIMUM = 4_000
"""Queries that may be parked in threads."""


def waitress_server(services: Services, app: Api, sock: socket.socket) -> Server:
    """Return a server, not started yet, for the application on a listening socket.

    Raise ListenError if ``max_parked`` is more than waitress can hold in threads, or if the process
    may not have the threads or open files that the server needs.
    """
    settings = services.settings.server
    if settings.max_parked > PARKED_MAXIMUM:
        raise ListenError(
            f"server.max_parked is {settings.max_parked}, and waitress holds a thread for each: at "
            f"most {PARKED_MAXIMUM} with it; docs/servers.md has servers that need none"
        )
    return_large_blocks()

    def log_refused(channel: Channel, request: Request, status: int) -> None:
        method, path = getattr(request, "command", ""), getattr(request, "path", "")
        services.metrics.server.counter(method, "", status)(0.0)
        if services.access_log is not None:
            services.access_log.refused(channel.address, method, path, status)

    def accessor_of_secret(secret: str) -> str:
        with suppress(TokenNotFound):
            return services.acl.caller(secret, time.time_ns()).accessor
        return ""

    server = Server(
        app,
        sock,
        # Each of these requests waits in a thread.
        max_parked=settings.max_parked + settings.max_waiting_reads + settings.max_streams,
        max_reports=settings.max_reports + large_places(settings.max_reports),
        limits=limits_of(settings),
        hits=services.hits,
        check_head=app.check_head,
        log_refused=log_refused,
        accessor_of_secret=accessor_of_secret,
        repeats=app.repeats,
    )
    services.conditions.threads.append(lambda: server.threads)
    return server
