"""Stores with one deliberate fault each, and the cases of the contract that the fault breaks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from plugind.model import Change, Committed
from plugind.store.base import Outcome, Store
from plugind.testing.stores import Wrapped


class Faulty(Wrapped):
    breaks: ClassVar[tuple[str, ...]]


class LosesAChange(Faulty):
    """A store that acknowledges every third change without storing it."""

    breaks = (
        "a_follower_of_two_busy_writers_misses_nothing",
        "of_two_writers_none_loses_what_the_other_wrote",
    )

    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        kept = [each for number, each in enumerate(changes) if number % 3 != 2]
        if len(changes) == 1:
            self.count = getattr(self, "count", 0) + 1
            kept = [] if self.count % 3 == 0 else kept
        outcomes = list(self.inner.commit(kept))
        last = self.inner.load().index
        return [*outcomes, *range(last + 1, last + 1 + len(changes) - len(kept))]


class Reorders(Faulty):
    """A store that gives followers two neighbouring changes in the wrong order."""

    breaks = (
        "reading_begins_after_any_index[0]",
        "a_follower_gets_every_change_once_in_order[False]",
    )

    def read(self, after: int, limit: int = 256) -> Sequence[Committed]:
        found = list(self.inner.read(after, limit))
        if len(found) > 1:
            one, two = found[0], found[1]
            found[:2] = [one.changed(change=two.change), two.changed(change=one.change)]
        return found


class DoublesAnIndex(Faulty):
    """A store that gives two changes of a batch the same index."""

    breaks = (
        "indexes_of_a_batch_rise_in_its_order",
        "changes_of_one_batch_are_read_at_their_indexes",
    )

    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        outcomes = list(self.inner.commit(changes))
        return [outcomes[0], *outcomes[:-1]] if outcomes else outcomes


class AcknowledgesTooEarly(Faulty):
    """A store that acknowledges changes before it commits them, and loses the last ones."""

    breaks = ("what_one_commits_another_loads", "a_value_is_there_after_a_restart['node']")

    def __init__(self, settings: Any, data_dir: Path) -> None:
        super().__init__(settings, data_dir)
        self._waiting: list[Change] = []

    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        self.inner.commit(self._waiting)
        self._waiting = list(changes)
        last = self.inner.load().index
        return range(last + 1, last + 1 + len(changes))


class Skips(Faulty):
    """A store that leaves out a change for followers that read more than one."""

    breaks = (
        "reading_begins_after_any_index[0]",
        "a_follower_of_two_busy_writers_misses_nothing",
        "batches_of_a_follower_are_bounded",
    )

    def read(self, after: int, limit: int = 256) -> Sequence[Committed]:
        found = list(self.inner.read(after, limit))
        return found[1:] if len(found) > 1 else found


class MissesConflicts(Faulty):
    """A store that commits outdated changes."""

    breaks = (
        "an_outdated_plan_conflicts_and_does_nothing['node']",
        "of_two_writers_none_loses_what_the_other_wrote",
        "scopes_are_remembered_over_a_restart",
    )

    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return self.inner.commit([each.changed(reads=frozenset()) for each in changes])


FAULTS: list[type[Faulty]] = [
    LosesAChange,
    Reorders,
    DoublesAnIndex,
    AcknowledgesTooEarly,
    Skips,
    MissesConflicts,
]
__all__ = ["FAULTS", "Faulty", "Store"]
