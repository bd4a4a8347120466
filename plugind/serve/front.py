"""The HTTP servers that plugind can run behind, each in this process and on a socket that listens.

waitress is the default: it keeps every limit on clients. The others park tens of thousands of
queries without a thread for each.
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
"""Connections beyond those that are parked, which granian would otherwise leave waiting, however
few ``max_connections`` allows."""


class Server(Protocol):
    """An HTTP server of this process."""

    @property
    def threads(self) -> Sequence[OwnedThread]:
        """Return the threads that it needs."""

    def start(self) -> None:
        """Begin to serve. Raise ListenError where that fails."""

    def stop(self, grace: float = 10.0) -> None:
        """Accept no more connections, finish the requests in work, and end.

        That takes ``grace`` seconds at most. The caller has woken the parked queries before.
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

    ``sock`` listens, and may be shared with other processes. ``checks`` and ``stats`` are those of
    the other roles of the process, by role. Raise PlugindError where the kind is not installed, and
    ListenError when the process may not have the threads or open files that it takes.
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
    services.conditions.threads.append(lambda: server.threads[:1])  # the others are known to it
    return server


def _class(kind: str, name: str) -> Any:
    """Return the class of servers of a kind, from a package that need not be there."""
    try:
        return resolve_name(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != kind:
            raise
        advice = "pip install 'plugind[fast]' installs it"
        raise PlugindError(f"the HTTP server {kind} is not installed: {advice}") from error
