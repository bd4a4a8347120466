"""Makes the application of a server, for WSGI and for ASGI."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from plugind.api import TABLE
from plugind.api.direct import Direct
from plugind.api.flask_port import Api
from plugind.api.flow import Flow
from plugind.api.notes import Notes
from plugind.api.origin import check_write
from plugind.api.request import Signal
from plugind.intake.admission import large_places
from plugind.serve.asgi import Asgi
from plugind.serve.endpoint_parts import Checks, Stats, names_of, parts_of
from plugind.serve.limits import limits_of
from plugind.serve.parking import Threads
from plugind.serve.services import Services
from plugind.serve.tasks import Tasks
from plugind.ui import PAGES

OTHER_WRITERS = 16
"""Requests that write and are no reports, such as heartbeats, in work at a time."""


def create_app(
    services: Services, address: str, checks: Checks | None = None, stats: Stats | None = None
) -> Api:
    """Return the WSGI application of a server that is reached at ``address``, HOST:PORT.

    ``checks`` and ``stats`` are those of the other roles of the process, by role.
    """
    server, settings = Threads(), services.settings.server
    flow = flow_of(services, address, server.signal, checks or {}, stats or {})
    proxies, access_log = settings.trusted_proxies, services.access_log
    answered = services.metrics.server.answered
    return Api("plugind", flow, (*TABLE, *PAGES), server, proxies, access_log, answered)


def create_asgi(
    services: Services, address: str, checks: Checks | None = None, stats: Stats | None = None
) -> Asgi:
    """Return the ASGI application of a server; the arguments are as for ``create_app``."""
    settings = services.settings.server
    reports = settings.max_reports + large_places(settings.max_reports)
    tasks = Tasks(writers=reports + OTHER_WRITERS)
    flow = flow_of(services, address, tasks.signal, checks or {}, stats or {})
    table = (*TABLE, *PAGES)
    notes = Notes(table, services.access_log, services.metrics.server.answered)
    services.conditions.threads.append(lambda: tasks.threads)
    return Asgi(Direct(flow, table, notes), tasks, limits_of(settings), services.hits)


def flow_of(
    services: Services,
    address: str,
    signal: Callable[[], Signal],
    checks: Checks,
    stats: Stats,
) -> Flow:
    """Return the flow of requests through a server.

    ``signal`` makes the signals of the HTTP server; the rest is as for ``create_app``.
    """
    settings = services.settings
    return Flow(
        catalogue=services.catalogue,
        acl=lambda: services.acl,
        types=services.registry.types,
        region=settings.region,
        limits=settings.server,
        hits=services.hits,
        parts=parts_of(services, address, signal, checks, stats),
        signal=signal,
        check_write=partial(
            check_write, trusted=settings.server.trusted_proxies, names=names_of(settings)
        ),
        has_public_metrics=settings.metrics.public,
    )
