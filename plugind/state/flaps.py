"""How often each instance changed in the clock hour of the last transition.

An instance that changes without pause must not push the history of all others out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import NamedTuple

import msgspec

from plugind.model import FLAPPING, HistoryQuery, InstanceKey, StoredTransition, Transition
from plugind.model.times import SECOND
from plugind.state.maps import replaced
from plugind.store.paging import Select, newest_first

HOUR = 3600 * SECOND

ROWS = 60
"""Number of transitions in an hour at which an instance begins to count as flapping."""


LOADED_MAXIMUM = 5_000
"""Maximum number of transitions that are looked at when a state is loaded."""


class Flap(NamedTuple):
    """The ``number`` of an instance's changes in this hour. ``since`` is when it began to flap (0:
    it does not flap). From then until ``at``, its last change, it was healthy for ``healthy_time``
    nanoseconds; ``healthy`` is its health after that change."""

    number: int = 0
    since: int = 0
    healthy_time: int = 0
    at: int = 0
    healthy: bool = False

    def healthy_until(self, now: int) -> int:
        """Return how many nanoseconds it was healthy until ``now``."""
        more = now - self.at if self.since and self.healthy else 0
        return self.healthy_time + max(0, more)


def of_the_last_hour(select: Select) -> list[StoredTransition]:
    """Return the transitions of the clock hour of the last one, newest first; at most the newest
    LOADED_MAXIMUM."""
    found: list[StoredTransition] = []
    for row in islice(newest_first(select, HistoryQuery()), LOADED_MAXIMUM):
        if found and row.transition.time // HOUR != found[0].transition.time // HOUR:
            break
        found.append(row)
    return found


class Flaps(msgspec.Struct, frozen=True):
    """The changes of each instance in one ``hour``, counted since the epoch."""

    hour: int = 0
    by_instance: Mapping[InstanceKey, Flap] = {}

    def of(self, key: InstanceKey, now: int) -> Flap:
        """Return the changes of an instance in the hour of ``now``."""
        return self.by_instance.get(key, Flap()) if now // HOUR == self.hour else Flap()

    def changed(self, transitions: Iterable[Transition]) -> Flaps:
        """Return the counts after further transitions."""
        found: dict[InstanceKey, Flap] = {}
        hour = self.hour
        for row in transitions:
            if not (row.node_id and row.type):
                continue
            if row.time // HOUR != hour:
                hour = row.time // HOUR
                found.clear()
            # Interned, because a state has the same texts, and a store returns copies of them.
            key = InstanceKey(*map(sys.intern, (row.node_id, row.type, row.id, row.role)))
            is_healthy = row.healthy and not row.is_gone
            old = found.get(key) or (self.of(key, row.time) if hour == self.hour else Flap())
            if row.kind == FLAPPING:
                # A row from the store stands for changes that were not seen one by one.
                known = old.healthy_until(row.time) if old.since else row.healthy_seconds * SECOND
                at = max(row.time, row.until)
                found[key] = Flap(ROWS + row.count, row.since, known, at, is_healthy)
            else:
                found[key] = Flap(old.number + 1, 0, 0, row.time, is_healthy)
        kept = self.by_instance if hour == self.hour else {}
        return Flaps(hour, replaced(kept, found)) if found else self
