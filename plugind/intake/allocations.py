"""Converts a report's descriptions of processes to allocations. An invalid one is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError

from plugind import handover
from plugind.intake.rejected import Rejected
from plugind.model import Allocation, Fingerprint
from plugind.schemas.allocations import ID_MAXIMUM, ReportedAllocationSchema
from plugind.schemas.nodes import NAME_MAXIMUM, reasons_of
from plugind.schemas.quick import Quick
from plugind.wire.texts import tame

_FIELD = "Allocations"
_REPORTED = ReportedAllocationSchema()
_QUICK = Quick(_REPORTED)


def allocations_of(
    reported: Mapping[str, Any], now: int
) -> tuple[dict[str, Allocation], list[Rejected]]:
    """Return the valid allocations of a report's ``Allocations`` by ID, and the problems of others.

    A process cannot have started after ``now``, whatever the clock of its agent says.
    """
    found: dict[str, Allocation] = {}
    rejected: list[Rejected] = []
    for id_, described in reported.items():
        handover.step()
        if not 0 < len(id_) <= ID_MAXIMUM:
            reason = f"an ID must have 1 to {ID_MAXIMUM} characters."
            rejected.append(_rejected(id_, "", reason))
            continue
        try:
            loaded = _QUICK.load(described) or _REPORTED.load(described)
            found[id_] = loaded.changed(created=min(loaded.created, now))
        except ValidationError as error:
            rejected += [_rejected(id_, path, reason) for path, reason in reasons_of(error)]
    return found, rejected


def _rejected(id_: str, path: str, reason: str) -> Rejected:
    place = ".".join(part for part in (_FIELD, tame(id_, NAME_MAXIMUM), path) if part)
    return Rejected("", "", "", place, reason)


def named_by(raw: Any, allocations: Mapping[str, Allocation]) -> Allocation | None:
    """Return the process that a reported fingerprint names, if the report describes it."""
    if not allocations:
        return None
    alloc_id = raw.get("AllocID") if isinstance(raw, dict) else None
    return allocations.get(alloc_id) if isinstance(alloc_id, str) else None


def last_known(last: Fingerprint | None, alloc_id: str, *, healthy: bool) -> Allocation | None:
    """Return the process of the last fingerprint if it has this ID, for a report that does not
    describe the process; the process of an unhealthy instance has ended."""
    if last is None or last.allocation is None or last.alloc_id != alloc_id:
        return None
    return last.allocation.changed(runs=healthy)
