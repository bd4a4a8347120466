"""When each node was last heard, and by when it must be heard again.

Nothing here reads a clock: every method is given the time, so that tests can simulate a fleet
without waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from plugind.model import Beat
from plugind.model.times import SECOND

BEATS_PER_TTL = 3.5
"""Heartbeats that an agent sends per time to live, rounded up: after each one it waits 0.8 to 1.0
times a third of the time to live, so it sends 3.33 on average."""

GRACE = 0.1
"""Extra time for an answer on its way or a late beat, as a share of the time to live. Another tenth
is left for noticing the expiry and writing it: a node is down after at most 1.2 times its time to
live."""


def scaled_ttl(shortest: float, nodes: int, rate: float) -> float:
    """Return the time to live, in seconds, with which this number of ``nodes`` sends at most
    ``rate`` heartbeats a second; never below ``shortest``."""
    return max(shortest, nodes * BEATS_PER_TTL / rate)


class _Due(NamedTuple):
    at: float
    beat: Beat


class Deadlines:
    """The deadlines of nodes by their IDs. Not safe for threads.

    ``now`` is in seconds of a clock that is never set, such as the monotonic one, because a jump of
    the wall clock must take no node down. A Beat has the wall clock's time and the time to live.
    """

    def __init__(self) -> None:
        self._due: dict[str, _Due] = {}
        self._unsaved: dict[str, Beat] = {}

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._due

    def __len__(self) -> int:
        """Return how many nodes are expected to be heard; nodes that are down are not."""
        return len(self._due)

    def expect(self, node_id: str, beat: Beat, now: float) -> None:
        """Give a node that was last heard before this process started its whole time to live."""
        self._due[node_id] = _Due(_deadline(beat, now), beat)

    def heard(self, node_id: str, beat: Beat, now: float) -> bool:
        """Note that a node was answered ``now``. Return whether it was late, or is new."""
        was_late = node_id not in self._due or self._due[node_id].at <= now
        self._due[node_id] = _Due(_deadline(beat, now), beat)
        self._unsaved[node_id] = beat
        return was_late

    def heard_elsewhere(self, node_id: str, beat: Beat, at: float) -> None:
        """Note that another process answered a node, at a time of this process's clock."""
        at_latest = _deadline(beat, at)
        if node_id not in self._due or self._due[node_id].at < at_latest:
            self._due[node_id] = _Due(at_latest, beat)

    def extend(self, now: float) -> None:
        """Give each node its whole time to live from now on, because it may have been heard without
        this process knowing."""
        for node_id, due in self._due.items():
            self.expect(node_id, due.beat, now)

    def postpone(self, seconds: float) -> None:
        """Move all deadlines by the seconds for which this process did not know what was heard."""
        for node_id, due in self._due.items():
            self._due[node_id] = due._replace(at=due.at + seconds)

    def is_late(self, node_id: str, now: float) -> bool:
        """Return whether a node is expected and was not heard by its deadline."""
        return node_id in self._due and self._due[node_id].at <= now

    def late(self, now: float) -> list[str]:
        """Return the nodes that were not heard by their deadlines."""
        return [node_id for node_id, due in self._due.items() if due.at <= now]

    def late_since(self, node_id: str, now: float) -> int | None:
        """Return when a node that is late was last heard, by the wall clock; None for others."""
        due = self._due.get(node_id)
        return due.beat.heard if due and due.at <= now else None

    def beats(self) -> Mapping[str, Beat]:
        """Return the last beat of each node that is expected to be heard."""
        return {node_id: due.beat for node_id, due in self._due.items()}

    def drop(self, node_id: str, now: float) -> None:
        """Stop expecting a node that is late, unless it was heard meanwhile."""
        if self.late_since(node_id, now) is not None:
            del self._due[node_id]

    def expect_none(self, node_id: str) -> None:
        """Stop expecting a node until it is heard again."""
        self._due.pop(node_id, None)

    def forget(self, node_id: str) -> None:
        """Forget a node that is gone."""
        self._due.pop(node_id, None)
        self._unsaved.pop(node_id, None)

    def take_unsaved(self) -> dict[str, Beat]:
        """Return the beats that are not saved, the last one of each node, and count them as
        saved."""
        beats, self._unsaved = self._unsaved, {}
        return beats

    def put_back(self, beats: Mapping[str, Beat]) -> None:
        """Count beats as not saved, except those of nodes that were heard since."""
        self._unsaved = {**beats, **self._unsaved}


def _deadline(beat: Beat, now: float) -> float:
    return now + beat.ttl / SECOND * (1 + GRACE)
