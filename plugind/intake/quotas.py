"""Decides how much of a report may be stored, so that one token leaves room for the others.

A limit never removes stored data, and data that does not grow is always accepted. A new node is
refused as a whole if there is no room for it. If there is no room for an instance, a new one is
left out, and a stored one that grows becomes unhealthy, with the reason, until it fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from plugind.config.settings import ServerLimits
from plugind.errors import LimitReached
from plugind.intake.rejected import WAS_REJECTED, Rejected
from plugind.model import Fingerprint, Instance, InstanceKey, Node, Step
from plugind.model.values import Value
from plugind.schemas.plugins import PluginSchemas
from plugind.state import State
from plugind.state.amounts import NOTHING, Amount, of_instance, of_node, sum_of

_UNITS = ("nodes", "instances", "bytes")


class Room(NamedTuple):
    """The room ``left`` below the limit that a setting of ``server`` puts on one part of an Amount;
    less than 0 if more than the limit is stored."""

    setting: str
    part: int
    maximum: int
    left: int

    @property
    def reached(self) -> str:
        unit = _UNITS[self.part]
        return (
            f"the limit server.{self.setting} of {self.maximum:,} {unit} is reached: forget "
            "plugins and nodes that are gone, or raise it"
        )

    def without(self, growth: Amount) -> Room:
        return self._replace(left=self.left - growth[self.part])

    def has_place_for(self, growth: Amount) -> bool:
        """Return whether there is room for growth; no growth always has room."""
        return growth[self.part] <= max(0, self.left)


class Admitted(NamedTuple):
    """The steps of a report's instances that may be made; ``left_out`` are the new instances that
    are not stored."""

    steps: list[Step[Instance]]
    left_out: frozenset[InstanceKey]
    rejected: list[Rejected]


class _Growing(NamedTuple):
    """A step, the growth of the stored data that it causes, and the size in bytes of its instance
    after it."""

    step: Step[Instance]
    growth: Amount
    size: int

    @classmethod
    def of(cls, step: Step[Instance]) -> _Growing:
        after = of_instance(step.after)
        return cls(step, after.plus(of_instance(step.before), -1), after.size)

    @property
    def is_news(self) -> bool:
        return self.step.after != self.step.before

    def order(self) -> tuple[bool, bool, InstanceKey]:
        return self.growth.size > 0, self.step.before is None, self.step.some.key


class Quotas(Value, frozen=True):
    """The limits of ``settings``, and the room that ``state`` leaves below them."""

    state: State
    settings: ServerLimits
    schemas: Mapping[str, PluginSchemas]

    def admit_node(self, old: Node | None, new: Node) -> tuple[Node, list[Rejected]]:
        """Return the node as it may be stored, and its rejected parts.

        Raise LimitReached for a new node if there is no room for it.
        """
        growth = _node_growth(old, new)
        room = _too_small(self._rooms(old, new), growth) if growth.is_more else None
        if room is None:
            return new, []
        if old is None:
            raise LimitReached(room.reached, room.setting)
        changed = {"Attributes": old.attributes != new.attributes, "Meta": old.meta != new.meta}
        kept = new.changed(attributes=old.attributes, meta=old.meta)
        return kept, [
            Rejected("", "", "", field, room.reached, room.setting)
            for field, is_changed in changed.items()
            if is_changed
        ]

    def admit_instances(
        self, old: Node | None, new: Node, steps: Iterable[Step[Instance]], now: int
    ) -> Admitted:
        """Return which of a report's steps may be made. Steps that do not grow come first, then
        those of stored instances, then those of new ones."""
        rejected: list[Rejected] = []
        wanted = [self._within_its_size(_Growing.of(step), rejected, now) for step in steps]
        total, rooms = sum_of(one.growth for one in wanted), list[Room]()
        if total.is_more:
            growth = _node_growth(old, new)
            rooms = [room.without(growth) for room in self._rooms(old, new)]
        if _too_small(rooms, total) is None:
            return Admitted([one.step for one in wanted if one.is_news], frozenset(), rejected)
        taken: list[Step[Instance]] = []
        left_out: set[InstanceKey] = set()
        for one in sorted(wanted, key=_Growing.order):
            if room := _too_small(rooms, one.growth):
                rejected.append(_rejected(one.step.some.key, room.reached, room.setting))
                if one.step.before is None:
                    left_out.add(one.step.some.key)
                    continue
                one = self._refused(one.step, room.reached, now)
            rooms = [room.without(one.growth) for room in rooms]
            if one.is_news:
                taken.append(one.step)
        return Admitted(taken, frozenset(left_out), rejected)

    def _rooms(self, old: Node | None, new: Node) -> list[Room]:
        """Return the room left below each limit, with the stored data of the node counted for the
        token that reports it now."""
        usage, limits = self.state.usage, self.settings
        rooms = _left(
            usage.total,
            max_nodes=limits.max_nodes,
            max_instances=limits.max_instances,
            max_storage=limits.max_storage,
        )
        if not new.accessor:
            return rooms
        of_token = usage.of_token(new.accessor)
        if old is not None and old.accessor != new.accessor:
            of_token = of_token.plus(usage.of_node(old.id))
        return rooms + _left(
            of_token,
            max_nodes_per_token=limits.max_nodes_per_token,
            max_instances_per_token=limits.max_instances_per_token,
            max_storage_per_token=limits.max_storage_per_token,
        )

    def _within_its_size(self, one: _Growing, rejected: list[Rejected], now: int) -> _Growing:
        maximum = self.settings.max_instance_size
        if one.size <= maximum or one.growth.size <= 0:
            return one
        reason = f"has more than the {maximum:,} bytes that server.max_instance_size allows."
        rejected.append(_rejected(one.step.some.key, reason, "max_instance_size"))
        return self._refused(one.step, reason, now)

    def _refused(self, step: Step[Instance], reason: str, now: int) -> _Growing:
        """Return the step to an instance that replaces a rejected one: unhealthy, with the reason
        and what else is known of it."""
        new, old = step.some, step.before
        last = old.fingerprint if old else Fingerprint(False, "", now, "", self._details(new.key))
        text = f"{WAS_REJECTED} {reason}"
        fingerprint = last.changed(healthy=False, description=text, updated=now)
        if old is not None and fingerprint.says_the_same(last):
            fingerprint = last
        digest = new.digest if new.digest.startswith("!") else f"!{new.digest}"
        return _Growing.of(Step(old, Instance(new.key, fingerprint, digest)))

    def _details(self, key: InstanceKey) -> Mapping[str, object]:
        try:
            return self.schemas[key.type].nothing_known(key.role)
        except Exception:  # a plugin type is third-party code
            return {}


def _left(used: Amount, **maxima: int) -> list[Room]:
    """Return the room left below limits on nodes, instances and bytes, in this order."""
    return [
        Room(setting, part, maximum, maximum - used[part])
        for part, (setting, maximum) in enumerate(maxima.items())
    ]


def _too_small(rooms: Sequence[Room], growth: Amount) -> Room | None:
    return next((room for room in rooms if not room.has_place_for(growth)), None)


def _node_growth(old: Node | None, new: Node) -> Amount:
    return NOTHING if old is new else of_node(new).plus(of_node(old), -1)


def _rejected(key: InstanceKey, reason: str, setting: str) -> Rejected:
    return Rejected(key.type, key.id, key.role, "", reason, setting)
