"""The HTTP servers that plugind can use, each in this process and on a listening socket.

waitress is the default: it enforces every limit on clients. The others can park tens of thousands
of queries without a thread for each.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pkgutil import resolve_name
from typing import Any, Protocol

from plugind import serve as later
from plugind.errors import PlugindError
from plugind.health.threads import OwnedThread
from plugind.serve.endpoint_parts import Checks, Stats
from plugind.serve.listening import connections_allowed
from plugind.serve.services import Services

WAITRESS, GRANIAN, UVICORN = "waitress", "granian", "uvicorn"

KINDS = (WAITRESS, GRANIAN, UVICORN)

_OTHERS = 2_000
"""Connections that are served in addition to parked ones, even if ``max_connections`` is lower:
otherwise granian would leave them waiting."""


class Server(Protocol):
    """An HTTP server of this process."""

    @property
    def threads(self) -> Sequence[OwnedThread]:
        """Return the threads that the server needs."""

    def start(self) -> None:
        """Begin to serve. Raise ListenError if that fails."""

    def stop(self, grace: float = 10.0) -> None:
        """Accept no more connections, finish the requests in progress, and end.

        That takes at most ``grace`` seconds. The caller must have woken the parked queries before.
        """


def front(
    kind: str,
    services: Services,
    sock: socket.socket,
    address: str,
    checks: Checks | None = None,
    stats: Stats | None = None,
) -> Server:
    """Return a server of a kind, not started yet, for services that are reached at ``address``.

    ``sock`` listens, and may be shared with other processes. ``checks`` and ``stats`` belong to the
    other roles of the process, and are keyed by role. Raise PlugindError if the kind is unknown or
    not installed, and ListenError if the process may not have the threads or open files needed.
    """
    if kind == WAITRESS:
        wsgi = later.create_app(services, address, checks, stats)
        return later.waitress_server(services, wsgi, sock)
    settings = services.settings.server
    needed = settings.max_parked + settings.max_streams + _OTHERS
    places = connections_allowed(max(settings.max_connections, needed))
    if kind == GRANIAN:
        make = _class(kind, "plugind.serve.granian_server:GranianServer")
        timeout = settings.head_timeout
    elif kind == UVICORN:
        make = _class(kind, "plugind.serve.uvicorn_server:UvicornServer")
        timeout = settings.idle_timeout
    else:
        raise PlugindError(f"there is no HTTP server {kind!r}: there are {', '.join(KINDS)}")
    app = later.create_asgi(services, address, checks, stats)
    server: Server = make(app, sock, places, timeout)
    services.conditions.threads.append(lambda: server.threads[:1])  # it has the others already
    return server


def _class(kind: str, name: str) -> Any:
    """Return the class of servers of a kind, from a package that may not be installed."""
    try:
        return resolve_name(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != kind:
            raise
        advice = "pip install 'plugind[fast]' installs it"
        raise PlugindError(f"the HTTP server {kind} is not installed: {advice}") from error
