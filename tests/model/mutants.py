"""Deliberate faults, each put into the real code for the duration of a test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any

import pytest

from plugind.catalogue import Catalogue, Reading, rendering
from plugind.catalogue.rendering import Caches, Renderer
from plugind.catalogue.typed import About
from plugind.catalogue.waiting import Waiting
from plugind.errors import StoreError
from plugind.feed import liveness
from plugind.intake import fingerprints, plan, preparing
from plugind.intake.rejected import Rejected
from plugind.intake.writer import Writer
from plugind.model import Change, Committed
from plugind.state import State
from plugind.state.removals import Removals
from plugind.store.base import Outcome
from plugind.store.sqlite import SqliteStore, applying
from tests.model.naive import ROLES

Mutant = Callable[[pytest.MonkeyPatch], None]


def acknowledge_before_commit(patch: pytest.MonkeyPatch) -> None:
    """Write an acknowledged change only with the next one."""
    real = SqliteStore.commit

    def commit(self: SqliteStore, changes: Sequence[Change]) -> Sequence[int]:
        if owed := vars(self).get("owed"):
            real(self, owed)
        vars(self)["owed"] = changes
        return range(self._index + 1, self._index + 1 + len(changes))

    patch.setattr(SqliteStore, "commit", commit)


def acknowledge_what_failed(patch: pytest.MonkeyPatch) -> None:
    real = Writer._commit

    def commit(self: Writer, changes: Sequence[Change]) -> Sequence[Outcome]:
        try:
            return real(self, changes)
        except StoreError:
            return [self._feed.state.index] * len(changes)

    patch.setattr(Writer, "_commit", commit)


def keep_planned_what_failed(patch: pytest.MonkeyPatch) -> None:
    """Keep changes in the state that could not be committed."""
    real = Writer._commit

    def commit(self: Writer, changes: Sequence[Change]) -> Sequence[Outcome]:
        try:
            return real(self, changes)
        except StoreError:
            for change in changes:
                self._feed._state = self._feed.state.apply(self._feed.state.index, change)
            raise

    patch.setattr(Writer, "_commit", commit)


def lose_a_wake_up(patch: pytest.MonkeyPatch) -> None:
    """Wake no query that waits for a list."""
    real = Waiting.wake

    def wake(self: Waiting, resources: Iterable[str]) -> None:
        real(self, {each for each in resources if not each.startswith("plugins/")})

    patch.setattr(Waiting, "wake", wake)


def park_without_a_look(patch: pytest.MonkeyPatch) -> None:
    """Ignore a change between a client's read and its wait."""
    real = Waiting.subscribe

    def subscribe(self: Waiting, resource: str, is_due: Callable[[], bool], *rest: Any) -> Any:
        looks = count()
        return real(self, resource, lambda: next(looks) > 0 and is_due(), *rest)

    patch.setattr(Waiting, "subscribe", subscribe)


def wake_everybody(patch: pytest.MonkeyPatch) -> None:
    def is_due(self: Catalogue, resource: str, index: int) -> bool:
        return self.index > index

    patch.setattr(Catalogue, "_is_due", is_due)


def keep_counts(patch: pytest.MonkeyPatch) -> None:
    """Count up and down with each report, instead of counting the stored instances."""
    real, about = Caches.drop, Renderer._about

    def drop(self: Caches, state: State, change: Change) -> None:
        kept = vars(self).setdefault("kept", Counter())
        for step in change.instances:
            key = (step.some.key.plugin, step.some.key.role)
            kept[key] += bool(step.after and step.after.fingerprint.healthy)
            kept[key] -= bool(step.before and step.before.fingerprint.healthy)
        real(self, state, change)

    def counted(self: Renderer, key: Any) -> About:
        kept = vars(self._caches).get("kept", Counter())
        counts = {f"{plural}Healthy": kept[key, role] for role, plural in ROLES.items()}
        found = about(self, key)
        return found._replace(core={**found.core, **counts})

    patch.setattr(Caches, "drop", drop)
    patch.setattr(Renderer, "_about", counted)


def keep_nodes_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rendering, "seen", lambda instance, node: instance.fingerprint)


def store_no_index_of_removals(patch: pytest.MonkeyPatch) -> None:
    """Keep the list's stamp after a removal only in memory."""
    real = applying.apply

    def apply(db: Any, numbered: Sequence[Committed]) -> None:
        for each in numbered:
            change = each.change
            cut = change.changed(touched=change.removed) if change.removed else change
            real(db, [Committed(each.index, cut)])

    patch.setattr(applying, "apply", apply)


def remember_no_removals(patch: pytest.MonkeyPatch) -> None:
    """Wake no query that waits for a plugin that goes."""
    patch.setattr(Removals, "changed", lambda self, *given: self)


def drop_the_neighbours_of_a_rejected_item(patch: pytest.MonkeyPatch) -> None:
    real = fingerprints.items_of

    def items_of(*given: Any) -> Iterator[Any]:
        items = list(real(*given))
        rejected = [item for item in items if isinstance(item, Rejected)]
        yield from rejected or items

    patch.setattr(preparing, "items_of", items_of)


def answer_404_with_index_0(patch: pytest.MonkeyPatch) -> None:
    real = Catalogue.plugin

    def plugin(self: Catalogue, key: Any) -> Reading:
        reading = real(self, key)
        return reading if reading.body is not None else Reading(0, None)

    patch.setattr(Catalogue, "plugin", plugin)


def move_the_time_with_each_probe(patch: pytest.MonkeyPatch) -> None:
    real = preparing.ItemsOf._read

    def read(self: Any, item: Any, old: Any, allocations: Any, now: int) -> Any:
        reading = real(self, item, old, allocations, now)
        moved = reading.new.fingerprint.changed(updated=now)
        return reading._replace(new=reading.new.changed(fingerprint=moved))

    patch.setattr(preparing.ItemsOf, "_read", read)


def create_again_with_each_change(patch: pytest.MonkeyPatch) -> None:
    real = State.apply

    def apply(self: State, index: int, change: Change) -> State:
        stamps = {key: each for key, each in self.stamps.items() if key not in change.touched}
        return real(self.changed(stamps=stamps), index, change)

    patch.setattr(State, "apply", apply)


def drop_what_is_missing(patch: pytest.MonkeyPatch) -> None:
    """Drop an instance that a report lacks, instead of showing it as missing."""
    real = preparing.ItemsOf._missing

    def missing(self: Any, *given: Any) -> Any:
        return {key: step.changed(after=None) for key, step in real(self, *given).items()}

    patch.setattr(preparing.ItemsOf, "_missing", missing)


def read_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    """Measure times to live by the wall clock, which people can set."""
    clocks = vars(liveness)["time"]
    patch.setattr(clocks, "monotonic", clocks.time)


def keep_stubs_of_processes(patch: pytest.MonkeyPatch) -> None:
    """Show a process as it was first rendered, whatever becomes of it."""
    known: dict[Any, bytes] = {}
    real = Renderer._stub

    def stub(self: Renderer, key: Any) -> bytes:
        return known.setdefault(key, real(self, key))

    patch.setattr(Renderer, "_stub", stub)


def forget_until_a_restart(patch: pytest.MonkeyPatch) -> None:
    """Remember forgotten instances only in memory."""
    real = applying.apply

    def apply(db: Any, numbered: Sequence[Committed]) -> None:
        cut = [Committed(each.index, each.change.changed(forgotten=())) for each in numbered]
        real(db, cut)

    patch.setattr(applying, "apply", apply)


def forget_for_a_moment(patch: pytest.MonkeyPatch) -> None:
    """Let forgotten instances return while they are reported, healthy or not."""
    patch.setattr(plan.forgetting, "is_ignored", lambda *given: False)


def forget_forever(patch: pytest.MonkeyPatch) -> None:
    """Keep forgotten instances away even when they are healthy again."""
    patch.setattr(plan.forgetting, "is_ignored", lambda *given: True)


def let_another_take_the_id_of_a_node_that_is_gone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plan.kept_secrets, "is_over", lambda *given: True)


def call_a_node_heard_until_that_was_noticed(patch: pytest.MonkeyPatch) -> None:
    real = plan.Planner.silence

    def silence(self: plan.Planner, heard: Any, now: int) -> Change:
        return real(self, dict.fromkeys(heard, now), now)

    patch.setattr(plan.Planner, "silence", silence)


CATALOGUE_MUTANTS: list[Mutant] = [
    acknowledge_before_commit,
    acknowledge_what_failed,
    keep_planned_what_failed,
    lose_a_wake_up,
    park_without_a_look,
    wake_everybody,
    keep_counts,
    keep_nodes_up,
    store_no_index_of_removals,
    remember_no_removals,
    drop_the_neighbours_of_a_rejected_item,
    answer_404_with_index_0,
    move_the_time_with_each_probe,
    create_again_with_each_change,
    drop_what_is_missing,
    keep_stubs_of_processes,
    forget_until_a_restart,
    forget_for_a_moment,
    let_another_take_the_id_of_a_node_that_is_gone,
    forget_forever,
    call_a_node_heard_until_that_was_noticed,
]
