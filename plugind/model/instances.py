"""The values of a plugin in one role on one node: its instance, fingerprint and process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from plugind.model.keys import InstanceKey, PluginKey
from plugind.model.packing import long, pack, shape_of, short, unpack
from plugind.model.values import Value


def description_or_default(description: str, *, healthy: bool) -> str:
    """Return a fingerprint's description, or a default if the plugin type gave none."""
    return description or ("healthy" if healthy else "unhealthy, no reason given")


class Allocation(Value, frozen=True, gc=False, eq=False):
    """The process behind an instance, as its agent describes it. Nomad calls it an allocation.

    ``created`` is when it started, which an agent computes from the boot time of the machine. That
    changes with the clock, so ``created`` is not used to distinguish processes. ``runs`` is False
    once its driver is unhealthy and the agent no longer finds it.
    """

    name: str
    job_id: str
    task_group: str
    created: int = 0
    runs: bool = True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Allocation):
            return NotImplemented
        same = self.name == other.name and self.job_id == other.job_id
        return same and self.task_group == other.task_group and self.runs == other.runs

    def __hash__(self) -> int:
        return hash((self.name, self.job_id, self.task_group, self.runs))


class Fingerprint(Value, frozen=True, gc=False):
    """The known health and details of one instance.

    ``details`` holds the fields that its plugin type adds, in wire form (only values of JSON).
    ``updated`` is when anything else in the fingerprint last changed, not the last probe.
    ``allocation`` is that of ``alloc_id``; None when nothing is known of it.
    """

    healthy: bool
    description: str
    updated: int
    alloc_id: str = ""
    details: Mapping[str, Any] = {}
    allocation: Allocation | None = None

    def says_the_same(self, other: Fingerprint) -> bool:
        """Return whether the two differ at most in their time."""
        return self.changed(updated=other.updated) == other


class Instance:
    """An instance as it was last reported. It is immutable.

    ``digest`` identifies what was reported, so that the same need not be validated again. It begins
    with "!" if the report was rejected, and so has to be validated again. ``missing_since`` is when
    a report first came without the instance; None while it is reported.

    There are very many instances, so the values are packed. ``fingerprint`` is built on each
    access; the other properties give parts of it at less cost.
    """

    __slots__ = ("_rest", "_shape", "key")

    def __init__(
        self,
        key: InstanceKey,
        fingerprint: Fingerprint,
        digest: str = "",
        missing_since: int | None = None,
    ) -> None:
        given, process = fingerprint, fingerprint.allocation
        details = orjson.dumps(given.details, option=orjson.OPT_SORT_KEYS).decode()
        rest = given.updated, given.alloc_id, digest
        self._keep(key, given.healthy, given.description, details, process, missing_since, rest)

    @classmethod
    def stored(
        cls,
        key: InstanceKey,
        healthy: bool,
        description: str,
        details: str,
        process: Allocation | None,
        missing_since: int | None,
        rest: tuple[int, str, str],
    ) -> Instance:
        """Return an instance with details that are JSON already, as in ``details_json``. ``rest``
        has the fingerprint's time, its allocation ID, and the digest."""
        made = cls.__new__(cls)
        made._keep(key, healthy, description, details, process, missing_since, rest)
        return made

    def _keep(
        self,
        key: InstanceKey,
        healthy: bool,
        description: str,
        details: str,
        process: Allocation | None,
        missing_since: int | None,
        rest: tuple[int, str, str],
    ) -> None:
        common = (process.job_id, process.task_group, process.runs) if process else None
        shape = shape_of(key[1:], healthy, description, details, common, missing_since)
        own = details[len(shape.head) : len(details) - len(shape.tail)]
        updated, alloc_id, digest = rest
        values = updated, alloc_id, short(digest), own
        self.key = key
        self._shape = shape
        self._rest = pack((*values, process.name, process.created) if process else values)

    @property
    def is_healthy(self) -> bool:
        return self._shape.healthy

    @property
    def description(self) -> str:
        return self._shape.description

    @property
    def updated(self) -> int:
        return unpack(self._rest).updated

    @property
    def alloc_id(self) -> str:
        return unpack(self._rest).alloc_id

    @property
    def digest(self) -> str:
        return long(unpack(self._rest).digest)

    @property
    def missing_since(self) -> int | None:
        return self._shape.missing_since

    @property
    def details_json(self) -> str:
        """Return the details as JSON with sorted keys."""
        shape = self._shape
        return f"{shape.head}{unpack(self._rest).details}{shape.tail}"

    @property
    def process(self) -> tuple[str, ...]:
        """Return the texts of the process: its name, job and group; none if it is not known."""
        process = self._shape.process
        return (unpack(self._rest).name, *process[:2]) if process else ()

    @property
    def fingerprint(self) -> Fingerprint:
        healthy, description, head, tail, process, _ = self._shape
        rest = unpack(self._rest)
        return Fingerprint(
            healthy,
            description,
            rest.updated,
            rest.alloc_id,
            orjson.loads(f"{head}{rest.details}{tail}"),
            process and Allocation(rest.name, process[0], process[1], rest.created, process[2]),
        )

    def changed(self, **values: Any) -> Instance:
        """Return the instance with some of the constructor's arguments replaced."""
        now = {"key": self.key, "fingerprint": self.fingerprint, "digest": self.digest}
        return Instance(**{**now, "missing_since": self.missing_since, **values})

    def _values(self) -> tuple[Any, ...]:
        return self.key, self.fingerprint, self.digest, self.missing_since

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Instance):
            return NotImplemented
        mine, its = self._shape, other._shape
        if mine is its and self._rest == other._rest:
            return self.key == other.key
        # Compared without unpacking; a different health comes with a different description.
        if mine.description != its.description or mine.missing_since != its.missing_since:
            return False
        return self._values() == other._values()

    def __repr__(self) -> str:
        return f"Instance{self._values()!r}"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """An instance that was forgotten at ``time``. While this is kept, unhealthy reports of the
    instance are ignored; ``ignored`` says whether there was one."""

    key: InstanceKey
    time: int
    ignored: bool = False


class Lost(NamedTuple):
    """An instance, or (by its ID) a node, that is in the state but has been lost ``since`` then."""

    what: InstanceKey | str
    since: int


@dataclass(frozen=True, slots=True)
class Declaration:
    """The number of instances, by role, that configuration expects of a plugin."""

    key: PluginKey
    expected: Mapping[str, int]
