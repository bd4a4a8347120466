"""The values that flow through plugind: all frozen, none of them knows how it is stored or shown.

Times are integers, nanoseconds since the Unix epoch, in UTC. A resource is what can be read and
waited for, named by its path: ``plugin/TYPE/ID``, ``plugins/TYPE``, ``node/NODE_ID``, ``nodes``.
What files say, and not reports, is ``settled``: no change touches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, TypeVar

from plugind.fields import format_time

T = TypeVar("T")

READY = "ready"
DOWN = "down"
NODES = "nodes"
SETTLED = "settled"


def plugins_of(type: str) -> str:
    """The resource that is the list of a type's plugins."""
    return f"plugins/{type}"


def node_of(node_id: str) -> str:
    """The resource that is one node."""
    return f"node/{node_id}"


def is_list(resource: str) -> bool:
    """Whether a resource is a list, which there always is, empty as it may be."""
    return resource == NODES or resource.startswith(plugins_of(""))


class PluginKey(NamedTuple):
    """Names one plugin: the name of its type, and its ID."""

    type: str
    id: str

    @property
    def resource(self) -> str:
        return f"plugin/{self.type}/{self.id}"


class InstanceKey(NamedTuple):
    """Names one instance: a plugin in one of its type's roles on one node."""

    node_id: str
    type: str
    id: str
    role: str

    @property
    def plugin(self) -> PluginKey:
        return PluginKey(self.type, self.id)


@dataclass(frozen=True, slots=True)
class Allocation:
    """The process behind an instance, as its agent describes it: Nomad's word for what runs on a
    node.

    ``created`` is when it started, which an agent works out from the time of the machine's boot;
    that moves with the clock, and so tells no process from another. ``runs`` is False once its
    driver is unhealthy and the agent no longer finds it.
    """

    name: str
    job_id: str
    task_group: str
    created: int = field(default=0, compare=False)
    runs: bool = True


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is known of one instance.

    ``details`` holds what its plugin type adds, in wire form (only what JSON can hold).
    ``updated`` is when anything else in the fingerprint last changed, not the last probe.
    ``allocation`` is that of ``alloc_id``; None when nothing is known of it.
    """

    healthy: bool
    description: str
    updated: int
    alloc_id: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    allocation: Allocation | None = None

    def says_the_same(self, other: Fingerprint) -> bool:
        """Whether the two differ in their time at most."""
        return replace(self, updated=other.updated) == other


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance as it was last reported.

    ``digest`` identifies what was reported, so that the same need not be validated again; with a
    "!" before it when it was rejected, and has to be. ``missing_since`` is when a report first came
    without it; None while it is reported.
    """

    key: InstanceKey
    fingerprint: Fingerprint
    digest: str = ""
    missing_since: int | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A machine with an agent. ``status`` is READY, or DOWN once its time to live ran out.

    ``status_since`` is when the status last changed; ``back_since`` when it last went from DOWN to
    READY, 0 if never; ``cloned_since`` when it was noticed that two agents report as this node, 0
    while one does. ``secret_hash`` is "" when no secret is pinned.
    """

    id: str
    name: str
    datacenter: str = "dc1"
    version: str = ""
    address: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    secret_hash: str = ""
    status: str = READY
    status_since: int = 0
    back_since: int = 0
    cloned_since: int = 0


class Lost(NamedTuple):
    """What is held and not heard of since a time: an instance, or (by its ID) a node."""

    what: InstanceKey | str
    since: int


@dataclass(frozen=True, slots=True)
class Declaration:
    """What configuration expects of a plugin: how many instances, by role."""

    key: PluginKey
    expected: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Stamp:
    """When, by index and by clock, a resource entered the catalogue and when it last changed."""

    create_index: int
    modify_index: int
    create_time: int
    modify_time: int


@dataclass(frozen=True, slots=True)
class Step(Generic[T]):
    """One value replaced by another; None before it was there, and None after it is gone."""

    before: T | None
    after: T | None

    @property
    def some(self) -> T:
        """The value after the step; that before it where the step ends in nothing."""
        value = self.after if self.after is not None else self.before
        assert value is not None, "a step from nothing to nothing"
        return value

    def back(self) -> Step[T]:
        return Step(self.after, self.before)


@dataclass(frozen=True, slots=True)
class Change:
    """Everything that happens to the catalogue at one index.

    ``touched`` are the resources that read differently from then on, ``removed`` those of them
    that are no more. Both include the lists that the resources stand in.
    """

    time: int
    nodes: tuple[Step[Node], ...] = ()
    instances: tuple[Step[Instance], ...] = ()
    declarations: tuple[Step[Declaration], ...] = ()
    touched: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.nodes or self.instances or self.declarations)

    def back(self) -> Change:
        """The change that takes this one back, in what is held (not in what it touches)."""
        return replace(
            self,
            nodes=tuple(step.back() for step in self.nodes),
            instances=tuple(step.back() for step in self.instances),
            declarations=tuple(step.back() for step in self.declarations),
        )


CAME = "came"
WENT = "went"
HEALTHY = "healthy"
UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class InstanceChange:
    """What became of one instance: it CAME, WENT, or became HEALTHY or UNHEALTHY.

    ``healthy`` and ``reason`` are as they are shown now; of one that went as they last were.
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
    """What packages are told of by the hook ``plugind_changed``: what became of instances at one
    index. ``time`` is in nanoseconds since the epoch.

    ``missed`` says how many changes just before this one the package was too slow for: what it
    keeps of its own should then be read anew.
    """

    index: int
    time: int
    instances: tuple[InstanceChange, ...]
    missed: int = 0


def seen(instance: Instance, node: Node) -> Fingerprint:
    """The fingerprint that readers are shown: neither silence nor absence is health.

    What a node reported holds only as long as the node is heard of and goes on reporting it.
    """
    told = instance.fingerprint
    if node.status == DOWN:
        since = node.status_since
        reason = f"nothing heard of node {node.name} since {format_time(since)}"
    elif instance.missing_since is not None:
        since = instance.missing_since
        reason = f"not reported by {node.name} since {format_time(since)}"
    elif node.back_since > told.updated:
        return replace(told, updated=node.back_since)
    else:
        return told
    if not told.healthy:
        reason += f"; before that: {told.description}"
    ended = told.allocation and replace(told.allocation, runs=False)
    return replace(told, healthy=False, description=reason, updated=since, allocation=ended)
