"""What is known of the instances of one type on this machine, derived from its prober's messages.

Values only: each message, and each death of the prober, makes a new state out of the last one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from plugind.agent.lines import Failed, Found, Idle, Key, Message, Targets
from plugind.fields import ID_PATTERN
from plugind.plugin_type import ANY_ROLE

GONE_MAXIMUM = 1_000
LEFT_MAXIMUM = 4_096
"""Instances that left on purpose and no server knows of yet. Of more than that some are forgotten,
which a server then calls missing."""


NOTHING: frozenset[Key] = frozenset()


@dataclass(frozen=True, slots=True)
class Shown:
    """A fingerprint, without its time, and since when (nanoseconds) it has been as it is."""

    fingerprint: Mapping[str, Any]
    updated: int


@dataclass(frozen=True, slots=True)
class Target:
    """One target: what its last good probe gave, and what is shown of it now.

    ``had`` are the instances that were shown and have not left on purpose. ``hidden`` is why it
    failed, where there is nothing to show that of.
    """

    given: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)
    shown: Mapping[Key, Shown] = field(default_factory=dict)
    had: frozenset[Key] = frozenset()
    hidden: str = ""

    def found(self, message: Found) -> tuple[Target, frozenset[Key]]:
        """The target after a good probe, and the instances that left on purpose with it.

        A half that an earlier probe gave and this one does not has left, unless this one speaks
        for all roles of its plugin.
        """
        now = message.instances
        kept = frozenset(key for key in self.had if _covered(key, now))
        standing = frozenset(key for key in kept if key[1] != ANY_ROLE)
        shown = _stamped(now, self.shown, message.time)
        if message.beyond:  # what is not told of has not left, as far as that can be remembered
            had = self.had | now.keys()
            return Target(now, shown, had if len(had) <= LEFT_MAXIMUM else frozenset(now)), NOTHING
        return Target(now, shown, standing | now.keys()), self.had - kept

    def failed(self, name: str, reason: str, time: int) -> Target:
        """The target after a probe that gave nothing: all that it last gave, or had when it went,
        is unhealthy.

        If it never gave anything its name stands in for the plugin's ID, where it can.
        """
        given = self.given or {key: {} for key in self.had}
        if not given and ID_PATTERN.fullmatch(name):
            given = {(name, ANY_ROLE): {}}
        why = {"Healthy": False, "HealthDescription": reason}
        shown = _stamped({key: {**given[key], **why} for key in given}, self.shown, time)
        return Target(given, shown, self.had | shown.keys(), "" if shown else reason)


@dataclass(frozen=True, slots=True)
class TypeState:
    """All targets of a type by name; ``names`` is None until the prober first told which exist.

    ``left`` are instances that left on purpose, until a server knows. ``gone`` has by name what the
    targets had that went, the last GONE_MAXIMUM of them: a driver that is upgraded takes its socket
    away and brings it back, and the halves that it brings no longer have left on purpose.
    """

    names: frozenset[str] | None = None
    targets: Mapping[str, Target] = field(default_factory=dict)
    left: frozenset[Key] = frozenset()
    gone: Mapping[str, frozenset[Key]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every target there is has answered, or has been found not to answer."""
        return self.names is not None and self.names <= self.targets.keys()

    @property
    def hidden(self) -> str:
        """How many targets fail of which nothing can be shown, and why the first does; or ""."""
        failing = {name: one.hidden for name, one in self.targets.items() if one.hidden}
        if not failing:
            return ""
        name, reason = min(failing.items())
        more = f", and {len(failing) - 1:,} more targets" if len(failing) > 1 else ""
        return f"{name}: {reason}{more}"

    def after(self, message: Message) -> TypeState:
        """The state once the prober sent that message."""
        match message:
            case Targets():
                return self._among(message)
            case Idle():
                return self.retired()
            case Found(name):
                target, left = self._target(name).found(message)
                return self._with(name, target, left)
            case Failed(name, time, reason):
                return self._with(name, self._target(name).failed(name, reason, time))
        return self

    def retired(self) -> TypeState:
        """The state once configuration no longer has the type: all that it had left on purpose."""
        everything = self.targets.keys() | self.gone.keys()
        return TypeState(frozenset(), left=self.left.union(*map(self._had, everything)))

    def after_death(self, reason: str, time: int) -> TypeState:
        """The state while there is no prober: nothing that is shown can be called healthy."""
        targets = {
            name: target.failed(name, reason, time) if target.shown else target
            for name, target in self.targets.items()
        }
        return replace(self, targets=targets)

    def acknowledged(self, left: Iterable[Key]) -> TypeState:
        """The state once a server knows that those instances left."""
        return replace(self, left=self.left.difference(left))

    def shown(self) -> dict[Key, dict[str, Shown]]:
        """By instance, what each target that has it shows of it; by target's name, sorted."""
        all: dict[Key, dict[str, Shown]] = {}
        for name, target in sorted(self.targets.items()):
            for key, shown in target.shown.items():
                all.setdefault(key, {})[name] = shown
        return all

    def healthy(self) -> Iterator[Found]:
        """What is shown of each target of which anything is healthy, as a probe finds it, where
        that is all that it has."""
        for name, target in self.targets.items():
            found = {key: one.fingerprint for key, one in target.shown.items()}
            if target.had <= found.keys() and any(one["Healthy"] for one in found.values()):
                yield Found(name, 0, found)

    def _among(self, told: Targets) -> TypeState:
        """The state with no other targets than those told of."""
        kept = {name: one for name, one in self.targets.items() if name in told.names}
        went = {name: one.had for name, one in self.targets.items() if name not in told.names}
        gone = _last({**self.gone, **went})
        left = frozenset(key for name in told.dropped for key in self._had(name))
        return TypeState(
            told.names,
            kept,
            _without_shown(self.left | left, kept),
            {name: had for name, had in gone.items() if name not in told.dropped},
        )

    def _had(self, name: str) -> frozenset[Key]:
        return self._target(name).had

    def _target(self, name: str) -> Target:
        return self.targets.get(name, Target(had=self.gone.get(name, frozenset())))

    def _with(self, name: str, target: Target, left: frozenset[Key] = frozenset()) -> TypeState:
        targets = {**self.targets, name: target}
        left = _without_shown(self.left | left, targets)
        gone = {other: had for other, had in self.gone.items() if other != name}
        return replace(self, targets=targets, left=left, gone=gone)


def _last(gone: Mapping[str, frozenset[Key]]) -> dict[str, frozenset[Key]]:
    """The last that went, GONE_MAXIMUM targets or LEFT_MAXIMUM instances."""
    kept: dict[str, frozenset[Key]] = {}
    room = LEFT_MAXIMUM
    for name, had in reversed(list(gone.items())):
        room -= len(had)
        if room < 0 or len(kept) == GONE_MAXIMUM:
            break
        kept[name] = had
    return dict(reversed(list(kept.items())))


def _without_shown(left: frozenset[Key], targets: Mapping[str, Target]) -> frozenset[Key]:
    """What left on purpose and no target shows again."""
    back = {key for target in targets.values() for key in target.shown}
    away = (key for key in left if not _is_back(key, back))
    return frozenset(islice(away, LEFT_MAXIMUM))


def _covered(key: Key, now: Collection[Key]) -> bool:
    """Whether what a probe gave now still tells of that instance.

    An instance in any role has become one in a definite role, once that is known.
    """
    return _is_back(key, now) or (key[0], ANY_ROLE) in now


def _is_back(key: Key, now: Collection[Key]) -> bool:
    id, role = key
    return key in now or (role == ANY_ROLE and any(id == other for other, _ in now))


def _stamped(
    now: Mapping[Key, Mapping[str, Any]], before: Mapping[Key, Shown], time: int
) -> dict[Key, Shown]:
    """What is shown now: a fingerprint that says the same as before keeps its time."""
    return {
        key: before[key]
        if key in before and before[key].fingerprint == fingerprint
        else Shown(fingerprint, time)
        for key, fingerprint in now.items()
    }
