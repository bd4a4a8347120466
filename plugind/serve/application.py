"""Makes the WSGI application of a server."""

from __future__ import annotations

from plugind.api.flask_port import Api
from plugind.serve.endpoint_parts import Checks, Stats
from plugind.serve.flows import ALL, flow_of, notes_of, repeats_of
from plugind.serve.parking import Threads
from plugind.serve.services import Services


def create_app(
    services: Services, address: str, checks: Checks | None = None, stats: Stats | None = None
) -> Api:
    """Return the WSGI application of a server that is reached at ``address`` (HOST:PORT).

    ``checks`` and ``stats`` belong to the other roles of the process, and are keyed by role.
    """
    server, settings = Threads(), services.settings.server
    flow = flow_of(services, address, server.signal, checks or {}, stats or {})
    notes = notes_of(services)
    repeats = repeats_of(services, flow, notes)
    return Api("plugind", flow, ALL, repeats, notes, server, settings.trusted_proxies)
