"""Makes the objects that answer the requests of a server, for WSGI and for ASGI."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from plugind.api import TABLE
from plugind.api.flow import Flow
from plugind.api.notes import Notes
from plugind.api.origin import check_write
from plugind.api.repeats import Repeats
from plugind.api.request import Signal
from plugind.serve.endpoint_parts import Checks, Stats, names_of, parts_of
from plugind.serve.services import Services
from plugind.ui import PAGES

ALL = (*TABLE, *PAGES)
"""The table of all endpoints."""


def notes_of(services: Services) -> Notes:
    """Return the object that records the answers of a server."""
    return Notes(ALL, services.access_log, services.metrics.server.counter)


def repeats_of(services: Services, flow: Flow, notes: Notes) -> Repeats:
    """Return the store of answers that a server can repeat."""
    return Repeats(services.catalogue, lambda: services.acl, flow.turns, notes)


def flow_of(
    services: Services,
    address: str,
    signal: Callable[[], Signal],
    checks: Checks,
    stats: Stats,
) -> Flow:
    """Return the flow of requests through a server.

    ``signal`` makes signals for the HTTP server; the other arguments are as for ``create_app``.
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
