"""Deliberate faults, each put into the real code for the length of a test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from plugind import liveness
from plugind.catalogue import Catalogue, Reading, rendering
from plugind.catalogue.rendering import Renderer
from plugind.catalogue.waiting import Waiting
from plugind.intake import Intake, fingerprints, plan
from plugind.intake.rejected import Rejected
from plugind.model import Change
from plugind.store.sqlite import SqliteStore
from tests.model.naive import ROLES

Mutant = Callable[[pytest.MonkeyPatch], None]


def acknowledge_before_commit(patch: pytest.MonkeyPatch) -> None:
    """What is told is written with the next change only."""
    real = SqliteStore.commit

    def commit(self: SqliteStore, changes: Sequence[Change]) -> Sequence[int]:
        if owed := vars(self).get("owed"):
            real(self, owed)
        vars(self)["owed"] = changes
        return range(self._index + 1, self._index + 1 + len(changes))

    patch.setattr(SqliteStore, "commit", commit)


def acknowledge_what_failed(patch: pytest.MonkeyPatch) -> None:
    def take_back(self: Intake, planned: list[Any], error: Exception) -> None:
        for request, _, digest in planned:
            request.answer.set_result((self._catalogue.index, digest))

    patch.setattr(Intake, "_take_back", take_back)


def keep_planned_what_failed(patch: pytest.MonkeyPatch) -> None:
    def take_back(self: Intake, planned: list[Any], error: Exception) -> None:
        for request, _, _ in planned:
            request.answer.set_exception(error)

    patch.setattr(Intake, "_take_back", take_back)


def lose_a_wake_up(patch: pytest.MonkeyPatch) -> None:
    """Those who wait for a list are not woken."""
    real = Waiting.wake

    def wake(self: Waiting, resources: Iterable[str]) -> None:
        real(self, {each for each in resources if not each.startswith("plugins/")})

    patch.setattr(Waiting, "wake", wake)


def park_without_a_look(patch: pytest.MonkeyPatch) -> None:
    """A change between a client's read and its wait is missed."""
    real = Waiting.wait

    def wait(self: Waiting, resource: str, is_due: Callable[[], bool], *rest: Any) -> None:
        looks = count()
        real(self, resource, lambda: next(looks) > 0 and is_due(), *rest)

    patch.setattr(Waiting, "wait", wait)


def wake_everybody(patch: pytest.MonkeyPatch) -> None:
    def is_due(self: Catalogue, resource: str, index: int) -> bool:
        return self._index > index

    patch.setattr(Catalogue, "_is_due", is_due)


def keep_counts(patch: pytest.MonkeyPatch) -> None:
    """Counts go up and down with what is reported, instead of being read off what is held."""
    real, document = Renderer.forget, Renderer._plugin_document

    def forget(self: Renderer, change: Change) -> None:
        kept = vars(self).setdefault("kept", Counter())
        for step in change.instances:
            key = (step.some.key.plugin, step.some.key.role)
            kept[key] += bool(step.after and step.after.fingerprint.healthy)
            kept[key] -= bool(step.before and step.before.fingerprint.healthy)
        real(self, change)

    def plugin_document(self: Renderer, key: Any) -> dict[str, Any]:
        kept = vars(self).get("kept", Counter())
        counts = {f"{plural}Healthy": kept[key, role] for role, plural in ROLES.items()}
        return {**document(self, key), **counts}

    patch.setattr(Renderer, "forget", forget)
    patch.setattr(Renderer, "_plugin_document", plugin_document)


def believe_the_silent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rendering, "seen", lambda instance, node: instance.fingerprint)


def store_no_index_of_removals(patch: pytest.MonkeyPatch) -> None:
    """The list's stamp after a removal is in memory only."""
    real = SqliteStore._write

    def write(self: SqliteStore, index: int, change: Change) -> None:
        real(self, index, replace(change, touched=change.removed) if change.removed else change)

    patch.setattr(SqliteStore, "_write", write)


def remember_no_removals(patch: pytest.MonkeyPatch) -> None:
    """Who waits for a plugin that goes is not told."""
    real = Catalogue._stamp

    def stamp(self: Catalogue, index: int, change: Change) -> None:
        real(self, index, change)
        self._removed.clear()

    patch.setattr(Catalogue, "_stamp", stamp)


def drop_the_neighbours_of_a_rejected_item(patch: pytest.MonkeyPatch) -> None:
    real = fingerprints.items_of

    def items_of(*given: Any) -> Iterator[Any]:
        items = list(real(*given))
        rejected = [item for item in items if isinstance(item, Rejected)]
        yield from rejected or items

    patch.setattr(plan, "items_of", items_of)


def answer_404_with_index_0(patch: pytest.MonkeyPatch) -> None:
    real = Catalogue.plugin

    def plugin(self: Catalogue, key: Any) -> Reading:
        reading = real(self, key)
        return reading if reading.body is not None else Reading(0, None)

    patch.setattr(Catalogue, "plugin", plugin)


def move_the_time_with_each_probe(patch: pytest.MonkeyPatch) -> None:
    real = plan.Planner._read

    def read(self: plan.Planner, item: Any, old: Any, allocations: Any, now: int) -> Any:
        new, wrong = real(self, item, old, allocations, now)
        return replace(new, fingerprint=replace(new.fingerprint, updated=now)), wrong

    patch.setattr(plan.Planner, "_read", read)


def create_anew_with_each_change(patch: pytest.MonkeyPatch) -> None:
    real = Catalogue._stamp

    def stamp(self: Catalogue, index: int, change: Change) -> None:
        for resource in change.touched:
            self._stamps.pop(resource, None)
        real(self, index, change)

    patch.setattr(Catalogue, "_stamp", stamp)


def drop_what_is_missing(patch: pytest.MonkeyPatch) -> None:
    """An instance that a report lacks goes, instead of being told of."""
    real = plan.Planner._instances

    def instances(self: plan.Planner, *given: Any) -> Any:
        steps, rejected = real(self, *given)
        is_lost = [step.after is not None and step.after.missing_since for step in steps]
        gone = [
            replace(s, after=None) if lost else s for s, lost in zip(steps, is_lost, strict=True)
        ]
        return gone, rejected

    patch.setattr(plan.Planner, "_instances", instances)


def read_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    """Times to live run by the clock that people set."""
    clocks = vars(liveness)["time"]
    patch.setattr(clocks, "monotonic", clocks.time)


def keep_stubs_of_processes(patch: pytest.MonkeyPatch) -> None:
    """What was rendered of a process is shown whatever becomes of it."""
    real = Renderer.forget

    def forget(self: Renderer, change: Change) -> None:
        stubs = dict(self._stubs)
        real(self, change)
        self._stubs = stubs

    patch.setattr(Renderer, "forget", forget)


CATALOGUE_MUTANTS: list[Mutant] = [
    acknowledge_before_commit,
    acknowledge_what_failed,
    keep_planned_what_failed,
    lose_a_wake_up,
    park_without_a_look,
    wake_everybody,
    keep_counts,
    believe_the_silent,
    store_no_index_of_removals,
    remember_no_removals,
    drop_the_neighbours_of_a_rejected_item,
    answer_404_with_index_0,
    move_the_time_with_each_probe,
    create_anew_with_each_change,
    drop_what_is_missing,
    keep_stubs_of_processes,
]
