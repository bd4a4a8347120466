"""Makes the ASGI application of a server."""

from __future__ import annotations

from plugind.api.direct import Direct
from plugind.intake.admission import large_places
from plugind.serve.allocator import return_large_blocks
from plugind.serve.asgi import Asgi
from plugind.serve.endpoint_parts import Checks, Stats
from plugind.serve.flows import ALL, flow_of, notes_of, repeats_of
from plugind.serve.limits import limits_of
from plugind.serve.services import Services
from plugind.serve.tasks import Tasks

OTHER_WRITERS = 16
"""Requests that write but are not reports, such as heartbeats, that may be in progress at once."""


def create_asgi(
    services: Services, address: str, checks: Checks | None = None, stats: Stats | None = None
) -> Asgi:
    """Return the ASGI application of a server that is reached at ``address`` (HOST:PORT).

    ``checks`` and ``stats`` belong to the other roles of the process, and are keyed by role.
    """
    return_large_blocks()
    settings = services.settings.server
    reports = settings.max_reports + large_places(settings.max_reports)
    tasks = Tasks(writers=reports + OTHER_WRITERS)
    flow = flow_of(services, address, tasks.signal, checks or {}, stats or {})
    notes = notes_of(services)
    services.conditions.threads.append(lambda: tasks.threads)
    direct = Direct(flow, ALL, repeats_of(services, flow, notes), notes)
    return Asgi(direct, tasks, limits_of(settings), services.hits)
