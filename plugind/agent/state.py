"""The state of the instances of one type on this machine, derived from its prober's messages.

States are immutable: each message, and each death of the prober, makes a new state from the last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from plugind.agent.protocol import Failed, Found, Idle, Key, Message, Targets
from plugind.plugin_type import ANY_ROLE
from plugind.wire.fields import ID_PATTERN

GONE_MAXIMUM = 1_000
"""Targets that have disappeared and whose instances are still remembered."""

LEFT_MAXIMUM = 4_096
"""Instances that left on purpose and that no server knows about yet. Any more are forgotten, so
a server reports them as missing."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A fingerprint, without its time, and since when it has been unchanged (in nanoseconds)."""

    fingerprint: Mapping[str, Any]
    updated: int


@dataclass(frozen=True, slots=True)
class Target:
    """One target: the result of its last good probe, and its fingerprints as they are shown now.

    ``had`` are the instances that were shown and have not left on purpose. ``hidden`` is the reason
    why the target fails, if there is no instance to show it on.
    """

    given: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)
    shown: Mapping[Key, Shown] = field(default_factory=dict)
    had: frozenset[Key] = frozenset()
    hidden: str = ""

    def found(self, message: Found) -> tuple[Target, frozenset[Key]]:
        """Return the target after a good probe, and the instances that have thus left on purpose.

        A role that an earlier probe returned and this probe does not return has left, unless this
        probe has one instance for all roles of the plugin.
        """
        now = message.instances
        # An instance with ANY_ROLE becomes one with a definite role once that role is known.
        kept = frozenset(key for key in self.had if _is_back(key, now) or (key[0], ANY_ROLE) in now)
        standing = frozenset(key for key in kept if key[1] != ANY_ROLE)
        shown = _stamped(now, self.shown, message.time)
        if message.beyond:  # an instance without room has not left; remember it, up to a limit
            had = self.had | now.keys()
            had = had if len(had) <= LEFT_MAXIMUM else frozenset(now)
            return Target(now, shown, had), frozenset()
        return Target(now, shown, standing | now.keys()), self.had - kept

    def failed(
        self, name: str, reason: str, time: int, named: frozenset[Key] = frozenset()
    ) -> Target:
        """Return the target after a probe that returned nothing.

        Every instance that the last good probe returned, or that the target had when it
        disappeared, is unhealthy. If no probe has succeeded yet, these are the instances that the
        type ``named``, or else one whose plugin ID is the target's name, if that is a valid ID.
        """
        given = self.given or {key: {} for key in self.had or named}
        if not given and ID_PATTERN.fullmatch(name):
            given = {(name, ANY_ROLE): {}}
        why = {"Healthy": False, "HealthDescription": reason}
        shown = _stamped({key: {**given[key], **why} for key in given}, self.shown, time)
        return Target(given, shown, self.had | shown.keys(), "" if shown else reason)


@dataclass(frozen=True, slots=True)
class TypeState:
    """All targets of a type by name; ``names`` is None until the prober first reported which exist.

    ``configured`` are the names of targets that the configuration names one by one. ``left`` are
    instances that left on purpose, until a server knows it. ``gone`` has, by name, the instances of
    the last GONE_MAXIMUM targets that disappeared: a driver that is upgraded removes its socket and
    creates it again, and roles that it then no longer has count as having left on purpose.
    """

    names: frozenset[str] | None = None
    targets: Mapping[str, Target] = field(default_factory=dict)
    left: frozenset[Key] = frozenset()
    gone: Mapping[str, frozenset[Key]] = field(default_factory=dict)
    configured: frozenset[str] = frozenset()

    @property
    def complete(self) -> bool:
        """Return whether every target has answered, or has been found not to answer."""
        return self.names is not None and self.names <= self.targets.keys()

    @property
    def nameless(self) -> Mapping[str, str]:
        """Return the reasons of failures that no instance shows because the plugin's ID is unknown,
        by the target's name."""
        return {name: one.hidden for name, one in self.targets.items() if one.hidden}

    @property
    def hidden(self) -> str:
        """Return the first ``nameless`` target with its reason, and the number of the others; "" if
        there are none."""
        failing = self.nameless
        if not failing:
            return ""
        name, reason = min(failing.items())
        more = f", and {len(failing) - 1:,} more targets" if len(failing) > 1 else ""
        return f"{name}: {reason}{more}"

    def after(self, message: Message) -> TypeState:
        """Return the state after a message of the prober."""
        match message:
            case Targets():
                return self._among(message)
            case Idle():
                return self.retired()
            case Found(name):
                target, left = self._target(name).found(message)
                return self._with(name, target, left)
            case Failed(name, time, reason, named):
                return self._with(name, self._target(name).failed(name, reason, time, named))
        return self

    def retired(self) -> TypeState:
        """Return the state once the configuration has dropped the type: all instances have left on
        purpose."""
        everything = self.targets.keys() | self.gone.keys()
        return TypeState(frozenset(), left=self.left.union(*map(self._had, everything)))

    def after_death(self, reason: str, time: int) -> TypeState:
        """Return the state while there is no prober: every instance that is shown is unhealthy.

        A target that has no result yet, because its first probe may have ended the process, is
        shown too if its name is a valid ID.
        """
        state = self
        for name in sorted((self.names or frozenset()) - self.targets.keys()):
            target = self._target(name).failed(name, reason, time)
            if target.shown:
                state = state._with(name, target)
        targets = {
            name: target.failed(name, reason, time) if target.shown else target
            for name, target in state.targets.items()
        }
        return replace(state, targets=targets)

    def acknowledged(self, left: Iterable[Key]) -> TypeState:
        """Return the state once a server knows that those instances left."""
        return replace(self, left=self.left.difference(left))

    def shown(self) -> dict[Key, dict[str, Shown]]:
        """Return, for each instance, the fingerprints that its targets show, by the target's name,
        sorted."""
        all: dict[Key, dict[str, Shown]] = {}
        for name, target in sorted(self.targets.items()):
            for key, shown in target.shown.items():
                all.setdefault(key, {})[name] = shown
        return all

    def healthy(self) -> Iterator[Found]:
        """Yield a ``Found``, as from a probe, for each target that has a healthy instance and shows
        all its instances."""
        for name, target in self.targets.items():
            found = {key: one.fingerprint for key, one in target.shown.items()}
            if target.had <= found.keys() and any(one["Healthy"] for one in found.values()):
                yield Found(name, 0, found)

    def _among(self, message: Targets) -> TypeState:
        """Return the state with only the targets of the message."""
        kept = {name: one for name, one in self.targets.items() if name in message.names}
        went = {name: one.had for name, one in self.targets.items() if name not in message.names}
        gone = _last({**self.gone, **went})
        left = frozenset(key for name in message.dropped for key in self._had(name))
        return TypeState(
            message.names,
            kept,
            _without_shown(self.left | left, kept),
            {name: had for name, had in gone.items() if name not in message.dropped},
            message.configured,
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
    """Return the last targets that disappeared, up to GONE_MAXIMUM targets or LEFT_MAXIMUM
    instances."""
    kept: dict[str, frozenset[Key]] = {}
    room = LEFT_MAXIMUM
    for name, had in reversed(list(gone.items())):
        room -= len(had)
        if room < 0 or len(kept) == GONE_MAXIMUM:
            break
        kept[name] = had
    return dict(reversed(list(kept.items())))


def _without_shown(left: frozenset[Key], targets: Mapping[str, Target]) -> frozenset[Key]:
    """Return the instances that left on purpose and that no target shows again."""
    back = {key for target in targets.values() for key in target.shown}
    away = (key for key in left if not _is_back(key, back))
    return frozenset(islice(away, LEFT_MAXIMUM))


def _is_back(key: Key, now: Collection[Key]) -> bool:
    id, role = key
    return key in now or (role == ANY_ROLE and any(id == other for other, _ in now))


def _stamped(
    now: Mapping[Key, Mapping[str, Any]], before: Mapping[Key, Shown], time: int
) -> dict[Key, Shown]:
    """Return the fingerprints as they are shown; one that equals its predecessor keeps its time."""
    return {
        key: before[key]
        if key in before and before[key].fingerprint == fingerprint
        else Shown(fingerprint, time)
        for key, fingerprint in now.items()
    }
