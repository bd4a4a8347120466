"""Logs each change of an instance's health, with names. If there are many at once, their number is
limited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from structlog.typing import FilteringBoundLogger

from plugind import logs
from plugind.model import CAME, HEALTHY, UNHEALTHY, WENT, InstanceChange

LINES_MAXIMUM = 50
"""Lines for changes at one moment, such as those of one report; one more line counts the others."""

REASON_MAXIMUM = 300
"""Characters of a reason."""

_EVENTS = {CAME: "appeared", WENT: "left", HEALTHY: "became healthy", UNHEALTHY: "became unhealthy"}


def log_health(log: FilteringBoundLogger, changes: Sequence[InstanceChange]) -> None:
    """Log what happened to instances at one moment, at level INFO."""
    with logs.together():
        for each in changes[:LINES_MAXIMUM]:
            log.info(
                _EVENTS[each.kind],
                type=each.type,
                id=each.id,
                role=each.role,
                node=each.node,
                node_id=each.node_id,
                healthy=each.healthy,
                reason=each.reason[:REASON_MAXIMUM],
            )
        if more := changes[LINES_MAXIMUM:]:
            counts = Counter(_EVENTS[each.kind].replace(" ", "_") for each in more)
            log.info("more changes of health at the same time", count=len(more), **counts)
