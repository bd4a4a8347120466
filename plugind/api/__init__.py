"""The HTTP API: every endpoint is in TABLE, and every request goes through ``flow``."""

from itertools import chain

from plugind.api import (
    acl,
    agent,
    allocations,
    availability,
    badge,
    cluster,
    events,
    history,
    metrics,
    nodes,
    openapi,
    plugins,
    problems,
    search,
)
from plugind.api.query import QuerySchema

_RESOURCES = (
    plugins,
    badge,
    nodes,
    history,
    availability,
    problems,
    events,
    allocations,
    search,
    acl,
    agent,
    metrics,
    cluster,
    openapi,
)

TABLE = tuple(chain.from_iterable(resource.endpoints.table for resource in _RESOURCES))

PARAMETERS = frozenset(QuerySchema().fields).union(*(each.parameters for each in TABLE))
"""Every query parameter that at least one endpoint takes."""
