"""The life of each instance, from its transitions: when it was healthy, when it was not, and when
its health is unknown.

Transitions are read from the newest back: each one names the state before it, so no older ones are
needed. A change counts from when the server stored it; only a node that goes down counts as down
from when it was last heard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from plugind.model import (
    DOWN,
    FLAPPING,
    HEALTHY,
    REASON,
    UNHEALTHY,
    VERSION,
    InstanceKey,
    Transition,
)
from plugind.model.times import SECOND
from plugind.state.flaps import HOUR


class Counts(NamedTuple):
    """The numbers of instances that are healthy, on a node that is down, known, and away, that is,
    forgotten and seen again later. An instance that flaps counts as healthy in part."""

    healthy: float = 0
    down: int = 0
    known: int = 0
    away: int = 0

    def plus(self, other: Counts, sign: int = 1) -> Counts:
        healthy, down, known, away = other
        return Counts(
            self.healthy + sign * healthy,
            self.down + sign * down,
            self.known + sign * known,
            self.away + sign * away,
        )


NOTHING = Counts()
AWAY = Counts(away=1)
_OF_WORD = {
    HEALTHY: Counts(healthy=1, known=1),
    UNHEALTHY: Counts(known=1),
    DOWN: Counts(down=1, known=1),
    "": NOTHING,
}


class Part(NamedTuple):
    """A part of an instance's life, in which it counts as ``counts``."""

    key: InstanceKey
    start: int
    end: int
    counts: Counts


def parts(
    rows: Iterable[Transition], present: Mapping[InstanceKey, str], begin: int, now: int
) -> Iterator[Part]:
    """Yield the parts of the lives of instances from ``begin`` until ``now``, in no order.

    ``rows`` are transitions, newest first, at least as far back as ``begin``; those of nodes and
    declarations are ignored. ``present`` has the health of instances now: "healthy", "unhealthy",
    or "down" on a node that is down.
    """
    lives = {key: _Life(key, now, word) for key, word in present.items()}
    for row in rows:
        if row.node_id and row.type and row.kind not in (VERSION, REASON):
            key = InstanceKey(row.node_id, row.type, row.id, row.role)
            if (life := lives.get(key)) is None:
                life = lives[key] = _Life(key, now, "")
            yield from life.back(row)
    for life in lives.values():
        yield from life.until(min(begin, life.end), _OF_WORD.get(life.word, NOTHING))


class _Life:
    """One instance before ``end``, when its health was ``word``; "" if it did not exist then."""

    __slots__ = ("_heard", "_is_back", "_key", "end", "word")

    def __init__(self, key: InstanceKey, end: int, word: str) -> None:
        self._key = key
        self.end = end
        self.word = word
        self._is_back = False
        self._heard: int | None = None  # the instance's node was down from then until ``end``

    def back(self, row: Transition) -> Iterator[Part]:
        """Yield the parts after a transition, and continue before it."""
        after = AWAY if row.is_gone and self._is_back else _OF_WORD.get(row.after, NOTHING)
        if row.kind == FLAPPING:
            start = min(row.since, self.end)
            until = min(row.until or start // HOUR * HOUR + HOUR, self.end)
            yield from self.until(until, after)
            if until > start:
                share = min(1.0, row.healthy_seconds * SECOND / (until - start))
                yield from self.until(start, Counts(healthy=share, known=1))
        else:
            yield from self.until(min(row.time, self.end), after)
        self.word, self._is_back = row.before, not row.before
        self._heard = row.since if row.after == DOWN and row.before else None

    def until(self, start: int, counts: Counts) -> Iterator[Part]:
        """Yield the parts since ``start``, in which the instance had one state, except that its
        node may have been down."""
        if self._heard is not None:
            heard = max(start, min(self._heard, self.end))
            yield Part(self._key, heard, self.end, _OF_WORD[DOWN])
            self.end, self._heard = heard, None
        if start < self.end:
            yield Part(self._key, start, self.end, counts)
            self.end = start
