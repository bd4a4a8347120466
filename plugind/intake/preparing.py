"""Works out what a report's items make of the state, before the report has its turn.

Validation is nearly all that a report costs, so requests do it in their own threads. What it comes
to holds as long as the instance that it was worked out on is still the one held: an unhealthy
fingerprint keeps values of the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from plugind import handover
from plugind.intake.allocations import allocations_of
from plugind.intake.fingerprints import Reported
from plugind.intake.rejected import Rejected
from plugind.model import Allocation, Instance, InstanceKey
from plugind.schemas.nodes import Report

LOOKED_AT = 16
"""Unchanged instances that cost the writer as much as one that changes, roughly."""

Read = Callable[
    [Reported, Instance | None, Mapping[str, Allocation], int], tuple[Instance, list[Rejected]]
]


class Reading(NamedTuple):
    """The result of an item for the instance ``held``, and the problems of the item."""

    held: Instance | None
    new: Instance
    wrong: list[Rejected]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a report's items come to, by the instances that they are about.

    ``rejected`` are the problems of its allocations. ``weight`` is what the report costs the
    writer, in instances that change.
    """

    allocations: Mapping[str, Allocation]
    rejected: list[Rejected]
    readings: Mapping[InstanceKey, Reading] = field(default_factory=dict)
    weight: int = 1

    def reading(self, key: InstanceKey, held: Instance | None) -> Reading | None:
        """Return what was worked out for an instance, if it was on the one that is ``held`` now."""
        found = self.readings.get(key)
        return found if found is not None and found.held is held else None


def without_items(report: Report, now: int) -> Prepared:
    """Return what a report's allocations come to, with none of its items."""
    return Prepared(*allocations_of(report.allocations, now))


def prepare(
    report: Report,
    items: Collection[Reported | Rejected],
    held: Mapping[InstanceKey, Instance],
    read: Read,
    now: int,
) -> Prepared:
    """Return what a report's ``items`` come to, on the instances ``held`` of its node."""
    start = without_items(report, now)
    readings = {}
    for item, old in _with_held(items, held):
        if item.fingerprint is not None:
            readings[item.key] = Reading(old, *read(item, old, start.allocations, now))
            handover.step()
    reported = {item.key for item, _ in _with_held(items, held)}
    changed = sum(reading.new is not reading.held for reading in readings.values())
    gone = sum(key not in readings for key in reported)
    missing = sum(old.missing_since is None for key, old in held.items() if key not in reported)
    weight = changed + gone + missing + (len(items) + len(held)) // LOOKED_AT
    return Prepared(start.allocations, start.rejected, readings, max(1, weight))


def _with_held(
    items: Collection[Reported | Rejected], held: Mapping[InstanceKey, Instance]
) -> Iterator[tuple[Reported, Instance | None]]:
    for item in items:
        if isinstance(item, Reported):
            yield item, held.get(item.key)
