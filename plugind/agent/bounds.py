"""The limits on what one plugin type, and a node as a whole, may report.

A type that reports too much must not harm the others. A prober's process limits itself with
``Room``; whatever the probers do, ``fit`` keeps a report within what a server accepts.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from plugind import logs
from plugind.agent.protocol import Failed, Found, Key
from plugind.plugin_type import ANY_ROLE, MEBIBYTE
from plugind.schemas.nodes import INSTANCES_MAXIMUM

TARGETS_MAXIMUM = 1_000
"""Targets of one type; each has a thread."""

SIZE_MAXIMUM = 4 * MEBIBYTE
"""Bytes of all fingerprints of one type, as JSON."""

REPORT_SIZE_MAXIMUM = 7 * MEBIBYTE
"""Bytes of a node's plugins in a report: a server accepts up to 8 MiB for the whole report."""

_FRAME = 64  # bytes around a fingerprint, or an allocation with its ID: quotes, braces and commas

_NONE: Mapping[str, Any] = {}

_log = logs.get("prober")

Plugins = Mapping[str, Mapping[str, Mapping[str, Any]]]


class _Measured(NamedTuple):
    """A fingerprint, and how many bytes it takes in a report."""

    fingerprint: Mapping[str, Any]
    size: int


class Room:
    """The room that all targets of a type share: ``instances``, of ``size`` bytes in total.

    An instance that has a place keeps it. An instance that comes when all places are taken gets
    none until one is free. Thread-safe.
    """

    def __init__(self, instances: int, size: int = SIZE_MAXIMUM) -> None:
        self._instances = instances
        self._size = size
        self._taken: dict[str, dict[Key, int]] = {}
        self._measured: dict[str, dict[Key, _Measured]] = {}
        self._beyond: dict[str, int] = {}
        self._hidden: dict[str, str] = {}
        self._lock = threading.Lock()

    def admit(self, outcome: Found | Failed) -> Found | Failed:
        """Return the part of an outcome that may be reported: all of it, or what there is room
        for."""
        with self._lock:
            self._hidden.pop(outcome.target, None)
            if isinstance(outcome, Found):
                return self._admit(outcome, outcome.instances)
            if self._taken.get(outcome.target):
                return outcome
            keys = outcome.named or {(outcome.target, ANY_ROLE)}
            why = {"Healthy": False, "HealthDescription": outcome.reason}
            stand_ins = dict.fromkeys(keys, why)
            admitted = self._admit(Found(outcome.target, outcome.time, {}), stand_ins)
            if not admitted.beyond:
                return outcome
            self._hidden[outcome.target] = outcome.reason
            return admitted

    def leave(self, target: str) -> None:
        """Free the places of a target that is gone."""
        with self._lock:
            self._taken.pop(target, None)
            self._measured.pop(target, None)
            self._beyond.pop(target, None)
            self._hidden.pop(target, None)

    @property
    def trouble(self) -> str:
        """Return how many instances are not reported, and why; "" when all are."""
        with self._lock:
            beyond = sum(self._beyond.values())
            hidden = [f"; {name}: {self._hidden[name]}" for name in sorted(self._hidden)[:1]]
        if not beyond:
            return ""
        return (
            f"{beyond:,} instances are not reported: at most {self._instances:,} are "
            f"(max_instances), of {self._size // MEBIBYTE} MiB together" + "".join(hidden)
        )

    def _admit(self, outcome: Found, wanted: Mapping[Key, Mapping[str, Any]]) -> Found:
        had = self._taken.pop(outcome.target, {})
        places = self._instances - sum(len(each) for each in self._taken.values())
        space = self._size - sum(sum(each.values()) for each in self._taken.values())
        sizes = self._sizes(outcome.target, wanted)
        kept = within(sorted(sizes, key=lambda key: (key not in had, key)), sizes, space)
        taken = {key: sizes[key] for key in kept[: max(places, 0)]}
        self._taken[outcome.target] = taken
        self._beyond[outcome.target] = beyond = len(sizes) - len(taken)
        return replace(outcome, instances={key: wanted[key] for key in taken}, beyond=beyond)

    def _sizes(self, target: str, wanted: Mapping[Key, Mapping[str, Any]]) -> dict[Key, int]:
        """Return the size of each fingerprint in bytes; a fingerprint that is the same object as
        last time is not measured again."""
        last = self._measured.get(target, {})
        measured = {
            key: found
            if (found := last.get(key)) is not None and found.fingerprint is fingerprint
            else _Measured(fingerprint, size_of(key, fingerprint))
            for key, fingerprint in wanted.items()
        }
        self._measured[target] = measured
        return {key: each.size for key, each in measured.items()}


def fit(
    plugins: Plugins, allocations: Mapping[str, Any] = _NONE
) -> tuple[dict[str, dict[str, dict[str, Any]]], dict[str, int]]:
    """Return the plugins that fit into one report, and by type how many instances do not fit.

    ``plugins`` are by type, ID and role. The ``allocations`` that they name count towards the size.
    If not everything fits, types with few instances keep all of them, and the others get equal
    shares.
    """
    sizes = {
        type: {
            (id, role): size_of((id, role), fingerprint) + _size_named(fingerprint, allocations)
            for id, roles in plugins[type].items()
            for role, fingerprint in roles.items()
        }
        for type in plugins
    }
    places = shares({type: len(sizes[type]) for type in sizes}, INSTANCES_MAXIMUM)
    space = shares({type: sum(sizes[type].values()) for type in sizes}, REPORT_SIZE_MAXIMUM)
    fitting: dict[str, dict[str, dict[str, Any]]] = {}
    left_out: dict[str, int] = {}
    for type, of_type in plugins.items():
        # Instances that left on purpose come last, because they can be reported later.
        keys = sorted(sizes[type], key=lambda key: (of_type[key[0]][key[1]] is None, key))
        kept = within(keys, sizes[type], space[type])[: places[type]]
        fitting[type] = {}
        for id, role in sorted(kept):
            fitting[type].setdefault(id, {})[role] = of_type[id][role]
        if missing := len(sizes[type]) - len(kept):
            left_out[type] = missing
    return {type: ids for type, ids in fitting.items() if ids}, left_out


def named(allocations: Mapping[str, Any], plugins: Plugins) -> dict[str, Any]:
    """Return the allocations that the plugins name."""
    ids = {
        alloc_id(fingerprint)
        for of_type in plugins.values()
        for roles in of_type.values()
        for fingerprint in roles.values()
    }
    return {id: allocations[id] for id in allocations if id in ids}


def alloc_id(fingerprint: Mapping[str, Any] | None) -> str:
    """Return the ID of the allocation that a fingerprint names; "" if it names none.

    The value comes from the plugin type, so it may be of any kind.
    """
    id = fingerprint.get("AllocID") if fingerprint else None
    return id if isinstance(id, str) else ""


def _size_named(fingerprint: Mapping[str, Any] | None, allocations: Mapping[str, Any]) -> int:
    allocation = allocations.get(alloc_id(fingerprint))
    return size_of((), allocation) if allocation else 0


def shares(wanted: Mapping[str, int], budget: int) -> dict[str, int]:
    """Return the share of a budget that each name gets: as much as it wants, or an equal part.

    Names that want less than an equal part leave the rest to the others.
    """
    got: dict[str, int] = {}
    for number, name in enumerate(sorted(wanted, key=lambda name: (wanted[name], name))):
        got[name] = min(wanted[name], (budget - sum(got.values())) // (len(wanted) - number))
    return got


def within(keys: Iterable[Key], sizes: Mapping[Key, int], space: int) -> list[Key]:
    """Return the keys, in their order, that fit into ``space`` bytes."""
    kept: list[Key] = []
    for key in keys:
        if sizes[key] <= space:
            space -= sizes[key]
            kept.append(key)
    return kept


def size_of(key: Iterable[str], fingerprint: Any) -> int:
    """Return the bytes that an instance takes in a report."""
    return len(json.dumps(fingerprint)) + sum(map(len, key)) + _FRAME
