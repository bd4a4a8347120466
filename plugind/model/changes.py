"""Changes of the catalogue, the transitions that they cause, and both as a store has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from plugind.model.instances import Declaration, Forgotten, Instance
from plugind.model.nodes import KeptSecret, Node
from plugind.model.sessions import Session
from plugind.model.values import Value

T = TypeVar("T")


class Stamp(Value, frozen=True):
    """The indexes and times at which a resource entered the catalogue and last changed."""

    create_index: int
    modify_index: int
    create_time: int
    modify_time: int


class Step(Value, Generic[T], frozen=True):
    """One value replaced by another: ``before`` is None if it is new, ``after`` if it goes."""

    before: T | None
    after: T | None

    @property
    def some(self) -> T:
        """Return the value after the step, or the one before it if the step removes it."""
        value = self.after if self.after is not None else self.before
        assert value is not None, "a step from nothing to nothing"
        return value

    def back(self) -> Step[T]:
        return Step(self.after, self.before)


APPEARED = "appeared"
HEALTHY = "healthy"
UNHEALTHY = "unhealthy"
REASON = "reason"
VERSION = "version"
LEFT = "left"
NODE_UP = "up"
NODE_DOWN = "down"
EXPECTED = "expected"
FLAPPING = "flapping"
KINDS = {
    True: (NODE_UP, NODE_DOWN),
    False: (APPEARED, HEALTHY, UNHEALTHY, REASON, VERSION, LEFT, EXPECTED, FLAPPING),
}
"""The kinds of transitions: those of nodes (True), and those of instances and declarations."""

HISTORY_LIMIT = 1_000
"""Transitions that one query returns at most."""

REASON_BYTES = 256
"""The size, in bytes of UTF-8, of the longest reason that a transition keeps."""


class Transition(Value, frozen=True):
    """One event in the life of an instance, a node or a declaration, kept as history.

    ``kind`` is one of the constants above. ``type``, ``id`` and ``role`` are "" for a node;
    ``role``, ``node_id`` and ``node`` (its name) are "" for a declaration. ``time`` is the server's
    clock at the commit, ``since`` when the event began as far as known, both in nanoseconds.
    ``before`` and ``after`` are the values that changed: the health of an instance, reasons,
    versions, the status of a node, expected numbers; "" for none. Health is "healthy", "unhealthy",
    or "down" on a node that is down. ``reason`` has at most REASON_BYTES. ``healthy`` is the health
    shown after the event, or the last one of an instance that left. ``version`` is that of the
    instance, "" if it has none.

    FLAPPING has one row for each instance and ``since``: a later one replaces the one before it,
    but keeps its ``time`` and ``before``. ``count`` is the number of changes, ``healthy_seconds``
    how long the instance was healthy from ``since`` ``until`` the last of them; other kinds have 0.
    """

    kind: str
    time: int
    since: int
    type: str
    id: str
    role: str
    node_id: str
    node: str
    before: str
    after: str
    reason: str
    healthy: bool
    count: int = 0
    healthy_seconds: int = 0
    version: str = ""
    until: int = 0

    @property
    def is_gone(self) -> bool:
        """Return whether the instance no longer exists after the transition."""
        return self.kind == LEFT or (self.kind == FLAPPING and not self.after)


def expected_text(expected: Mapping[str, int] | None) -> str:
    """Return the text that EXPECTED has for expected numbers by role; "" if none are declared."""
    return ", ".join(f"{role}: {count}" for role, count in sorted((expected or {}).items()))


def expected_in(text: str) -> dict[str, int]:
    """Return the expected numbers in a text of EXPECTED. If the text was cut, the last number is
    left out, because some of its digits may be missing."""
    items = [item.rpartition(": ") for item in text.split(", ")]
    if len(text.encode()) > REASON_BYTES - 4:
        items.pop()
    return {role: int(count) for role, _, count in items if count.isdecimal()}


class Change(Value, frozen=True):
    """Everything that happens to the catalogue at one index.

    ``touched`` are the resources that read differently from then on, ``removed`` those of them that
    no longer exist. Both include the lists that the resources are in. ``transitions`` follow from
    the steps. ``id`` is chosen by the writer, which finds the change in the log by it ("" for
    none).
    ``base`` is the index of the state that it was planned on, ``reads`` and ``writes`` are the
    scopes (see ``plugind.model.scopes``) by which a store finds out that the plan is outdated.
    """

    time: int
    nodes: tuple[Step[Node], ...] = ()
    instances: tuple[Step[Instance], ...] = ()
    declarations: tuple[Step[Declaration], ...] = ()
    touched: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    forgotten: tuple[Step[Forgotten], ...] = ()
    transitions: tuple[Transition, ...] = ()
    kept_secrets: tuple[Step[KeptSecret], ...] = ()
    sessions: tuple[Step[Session], ...] = ()
    id: str = ""
    base: int = 0
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        held = self.nodes or self.instances or self.declarations or self.forgotten
        return bool(held or self.kept_secrets or self.sessions)

    def back(self) -> Change:
        """Return the change that reverses this one in the state (not in what it touches)."""
        return self.changed(
            nodes=tuple(step.back() for step in self.nodes),
            instances=tuple(step.back() for step in self.instances),
            declarations=tuple(step.back() for step in self.declarations),
            forgotten=tuple(step.back() for step in self.forgotten),
            kept_secrets=tuple(step.back() for step in self.kept_secrets),
            sessions=tuple(step.back() for step in self.sessions),
        )


class Committed(Value, frozen=True):
    """A change as the log of a store has it. The ``before`` of its steps need not be the value that
    was there: only the key is certain for a value that goes, and it may be None for others."""

    index: int
    change: Change


class StoredTransition(Value, frozen=True):
    """A transition as the history of a store has it: ``seq`` orders the history, and ``index`` is
    that of the change that caused it."""

    seq: int
    index: int
    transition: Transition


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Selects at most ``limit`` transitions of a type, a plugin's ID and a node ID ("" for all).

    If ``after`` or ``after_index`` is given, the oldest come first: those with a ``seq`` greater
    than ``after`` and of changes after ``after_index``. Otherwise the newest come first: those with
    a ``seq`` smaller than ``before`` (None for the newest of all).

    Raise ValueError for a limit that is not 1 to HISTORY_LIMIT, and for both orders at once.
    """

    type: str = ""
    id: str = ""
    node_id: str = ""
    before: int | None = None
    after: int | None = None
    after_index: int | None = None
    limit: int = 100

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= HISTORY_LIMIT:
            raise ValueError(f"limit must be 1 to {HISTORY_LIMIT}, not {self.limit}")
        if self.before is not None and self.oldest_first:
            raise ValueError("before is for the newest first, after for the oldest first")

    @property
    def oldest_first(self) -> bool:
        """Return whether the oldest transitions come first."""
        return self.after is not None or self.after_index is not None


CAME = "came"
WENT = "went"


@dataclass(frozen=True, slots=True)
class InstanceChange:
    """What became of one instance: it CAME, WENT, or became HEALTHY or UNHEALTHY.

    ``healthy`` and ``reason`` are as they are shown now, or as they last were if it WENT.
    """

    kind: str
    type: str
    id: str
    role: str
    node_id: str
    node: str
    healthy: bool
    reason: str


@dataclass(frozen=True, slots=True)
class CatalogueChange:
    """The argument of the hook ``plugind_changed`` of packages: what became of instances at one
    index. ``time`` is in nanoseconds since the epoch.

    ``missed`` is the number of changes just before this one that the package did not get, usually
    because it was too slow: it should then read again whatever state of its own it keeps.
    """

    index: int
    time: int
    instances: tuple[InstanceChange, ...]
    missed: int = 0
