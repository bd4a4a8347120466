"""Works out how a report's items change the state, before the report has its turn.

This is nearly all of the work for a report, so requests do it in their own threads. The results are
valid only as long as the node still has the instances that they were worked out from, because an
unhealthy fingerprint keeps values of the last one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from plugind import handover
from plugind.intake import forgetting
from plugind.intake.allocations import allocations_of, named_by
from plugind.intake.digests import of_plugin
from plugind.intake.fingerprints import REFUSED, Reported, items_of, read, refuse
from plugind.intake.rejected import Rejected
from plugind.model import Allocation, Forgotten, Instance, InstanceKey, PluginKey, Step
from plugind.model.times import SECOND
from plugind.model.values import Value
from plugind.schemas.nodes import Report
from plugind.schemas.plugins import PluginSchemas
from plugind.state import State

LOOKED_AT = 16
"""Number of unchanged instances that cost the writer about as much as one that changes."""

CLOCK_STEP = 60 * SECOND
"""Nanoseconds by which a stored time may be ahead, because clocks are adjusted in small steps."""

Items = Sequence[Reported | Rejected]


class Reading(NamedTuple):
    """The instance ``new`` that an item makes of the one ``held``, and the item's problems."""

    held: Instance | None
    new: Instance
    wrong: list[Rejected]


class Outcome(NamedTuple):
    """The steps that a report leads to, those of the node's instances and those of its forgotten
    ones, and the rejected items of the report."""

    steps: Sequence[Step[Instance]]
    forgotten: Sequence[Step[Forgotten]]
    rejected: Sequence[Rejected]


@dataclass(slots=True)
class Prepared:
    """The results of a report's items, by the instances that they are about.

    ``rejected`` are the problems of its allocations. ``digests`` identify what it says of each
    plugin that it describes without a mistake, and ``known`` are the plugins about which it says
    the same as the last report. ``weight`` is what the report costs the writer, in instances that
    change. ``outcome`` is the outcome of the whole report for the instances ``held``; None if
    instances of the node are remembered as forgotten.
    """

    allocations: Mapping[str, Allocation]
    rejected: list[Rejected]
    readings: Mapping[InstanceKey, Reading] = field(default_factory=dict)
    digests: Mapping[PluginKey, bytes] = field(default_factory=dict)
    known: Collection[PluginKey] = ()
    weight: int = 1
    held: Mapping[InstanceKey, Instance] | None = None
    outcome: Outcome | None = None

    def reading(self, key: InstanceKey, held: Instance | None) -> Reading | None:
        """Return the result for an instance, if it was worked out from the one ``held`` now."""
        found = self.readings.get(key)
        return found if found is not None and found.held is held else None

    def taken(self, held: Mapping[InstanceKey, Instance]) -> list[bytes]:
        """Return the digests of the plugins that were accepted exactly as reported, given the
        instances ``held`` that the node has after the report."""
        if self.outcome is None:
            return []
        changed = {
            key.plugin for key, each in self.readings.items() if held.get(key) is not each.new
        }
        gone = (step.some.key for step in self.outcome.steps if step.after is None)
        changed |= {key.plugin for key in gone if key in held}
        return [digest for key, digest in self.digests.items() if key not in changed]


class ItemsOf(Value, frozen=True):
    """The items of a node's ``report``, to be applied to a ``state``, without the plugin types that
    are ``refused``."""

    state: State
    schemas: Mapping[str, PluginSchemas]
    generations: Mapping[str, str]
    node_id: str
    report: Report
    refused: Collection[str]

    def prepare(self, now: int, known: Collection[bytes] = ()) -> Prepared:
        """Return the results of the items. If the digest of a plugin is ``known``, its items were
        accepted as reported when the node got its present instances, and are not read again."""
        held = self._held
        prepared = self.without_items(now)
        digests = self._digests(prepared.allocations)
        prepared.known = {key for key, digest in digests.items() if digest and digest in known}
        items = self._items(prepared.known)
        readings: dict[InstanceKey, Reading] = {}
        for item in items:
            if isinstance(item, Reported) and item.fingerprint is not None:
                old = held.get(item.key)
                readings[item.key] = self._read(item, old, prepared.allocations, now)
                handover.step()
        prepared.readings, prepared.held = readings, held
        prepared.digests = self._sound(digests, prepared.known, items, readings)
        outcome = self._worked_out(prepared, items, now)
        prepared.weight = max(1, len(outcome.steps) + (len(items) + len(held)) // LOOKED_AT)
        prepared.outcome = None if self._marks else outcome
        return prepared

    def without_items(self, now: int) -> Prepared:
        """Return the results of the report's allocations alone, without any of its items."""
        return Prepared(*allocations_of(self.report.allocations, now))

    def outcome(self, prepared: Prepared, now: int) -> Outcome:
        """Return the outcome of the report, given what was ``prepared`` for it, maybe on another
        state."""
        if prepared.outcome and prepared.held is self._held and not self._marks:
            return prepared.outcome
        return self._worked_out(replace(prepared, known=()), self._items(), now)

    @property
    def _held(self) -> Mapping[InstanceKey, Instance]:
        return self.state.on_node(self.node_id)

    @property
    def _marks(self) -> Mapping[InstanceKey, Forgotten]:
        return self.state.forgotten_on(self.node_id)

    def _digests(self, allocations: Mapping[str, Allocation]) -> dict[PluginKey, bytes]:
        """Return the digest of what the report says of each plugin; none if instances of the node
        are remembered as forgotten, because these affect the result."""
        digests = {}
        for type_, plugins in self.report.plugins.items() if not self._marks else ():
            if type_ in self.refused or not isinstance(plugins, dict):
                continue
            for id_, by_role in plugins.items():
                if isinstance(by_role, dict):
                    raws = by_role.values() if allocations else ()
                    key = PluginKey(type_, id_)
                    digests[key] = of_plugin(key, by_role, (named_by(a, allocations) for a in raws))
                    handover.step()
        return digests

    def _sound(
        self,
        digests: Mapping[PluginKey, bytes],
        known: Collection[PluginKey],
        items: Items,
        readings: Mapping[InstanceKey, Reading],
    ) -> dict[PluginKey, bytes]:
        """Return the digests of the plugins that are ``known``, and of those that have at least one
        item and no item with a mistake."""
        sound = {item.key for item in items if isinstance(item, Reported)}
        sound -= {key for key, reading in readings.items() if reading.wrong}
        found = {}
        for key, digest in digests.items():
            if key not in known:
                by_role = self.report.plugins[key.type][key.id]
                keys = {InstanceKey(self.node_id, *key, role) for role in by_role}
                if not (digest and keys and keys <= sound):
                    continue
            found[key] = digest
        return found

    def _items(self, known: Collection[PluginKey] = ()) -> Items:
        """Return the items, without those of ``known`` plugins."""
        types = {name: schemas.type for name, schemas in self.schemas.items()}
        plugins = {name: of for name, of in self.report.plugins.items() if name not in self.refused}
        if known:
            plugins = {
                name: {id_: each for id_, each in of.items() if (name, id_) not in known}
                if isinstance(of, dict)
                else of
                for name, of in plugins.items()
            }
        return list(items_of(self.node_id, plugins, types, self._held, self._marks))

    def _worked_out(self, prepared: Prepared, items: Items, now: int) -> Outcome:
        held, marks = self._held, self._marks
        forgotten: list[Step[Forgotten]] = []
        steps: dict[InstanceKey, Step[Instance]] = {}
        reported: set[InstanceKey] = set()
        rejected = list(prepared.rejected)
        rejected += [Rejected(name, "", "", "Type", REFUSED) for name in sorted(self.refused)]
        for item in items:
            if isinstance(item, Rejected):
                rejected.append(item)
                continue
            reported.add(item.key)
            old, mark = held.get(item.key), marks.get(item.key)
            if item.fingerprint is None:
                if old is not None:
                    steps[item.key] = Step(old, None)
                continue
            _, new, wrong = prepared.reading(item.key, old) or self._read(
                item, old, prepared.allocations, now
            )
            rejected += wrong
            if mark is not None:
                if forgetting.is_ignored(self.state, item.key, item.fingerprint, new.fingerprint):
                    forgotten += [] if mark.ignored else [Step(mark, replace(mark, ignored=True))]
                    continue
                forgotten.append(Step(mark, None))
            if new is not old:
                steps[item.key] = Step(old, new)
        steps |= self._missing(reported, prepared.known, now)
        return Outcome(list(steps.values()), forgotten, rejected)

    def _missing(
        self, reported: Collection[InstanceKey], known: Collection[PluginKey], now: int
    ) -> dict[InstanceKey, Step[Instance]]:
        """Return the steps of the stored instances that are not ``reported`` and do not belong to a
        ``known`` plugin."""
        steps = {}
        for key, old in self._held.items():
            # The type and the ID as a plain tuple: it is equal to the PluginKey, a named tuple, but
            # takes only a quarter of the time to make.
            if key not in reported and key[1:3] not in known:
                new = refuse(old, now) if key.type in self.refused else _missing(old, now)
                if new is not old:
                    steps[key] = Step(old, new)
        return steps

    def _read(
        self,
        item: Reported,
        old: Instance | None,
        allocations: Mapping[str, Allocation],
        now: int,
    ) -> Reading:
        schemas, generation = self.schemas[item.key.type], self.generations[item.key.type]
        new, wrong = read(item, old, schemas, generation, allocations, now)
        if new.updated > now + CLOCK_STEP:
            # The server's own clock was ahead when this was written. With that time, the instance
            # would decide which version of the plugin is shown until the clock has caught up.
            new = new.changed(fingerprint=new.fingerprint.changed(updated=now))
        return Reading(old, new, wrong)


def _missing(old: Instance, now: int) -> Instance:
    return old.changed(missing_since=now) if old.missing_since is None else old
