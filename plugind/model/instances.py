"""Values of a plugin in one role on one node: its instance, fingerprint and process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from plugind.model.keys import InstanceKey, PluginKey


def description_or_default(description: str, *, healthy: bool) -> str:
    """Return a fingerprint's description, or what stands for it if the type gave none."""
    return description or ("healthy" if healthy else "unhealthy, no reason given")


@dataclass(frozen=True, slots=True)
class Allocation:
    """The process behind an instance, as its agent describes it: Nomad's word for what runs on a
    node.

    ``created`` is when it started, which an agent works out from the time of the machine's boot;
    that moves with the clock, and so distinguishes no processes. ``runs`` is False once its
    driver is unhealthy and the agent no longer finds it.
    """

    name: str
    job_id: str
    task_group: str
    created: int = field(default=0, compare=False)
    runs: bool = True


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The known health and details of one instance.

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
        """Return whether the two differ in their time at most."""
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
class Forgotten:
    """An instance that was forgotten at ``time``. While this is kept, reports that call the
    instance unhealthy are ignored; ``ignored`` says whether one was."""

    key: InstanceKey
    time: int
    ignored: bool = False


class Lost(NamedTuple):
    """An instance, or (by its ID) a node, that is in the state and was not heard since a time."""

    what: InstanceKey | str
    since: int


@dataclass(frozen=True, slots=True)
class Declaration:
    """What configuration expects of a plugin: how many instances, by role."""

    key: PluginKey
    expected: Mapping[str, int]
