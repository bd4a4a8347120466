"""From a report's fingerprints to instances, one by one: a bad one holds no other back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
from marshmallow import Schema, ValidationError, fields

from plugind.fields import ID_PATTERN, tame
from plugind.intake.allocations import last_known, named_by
from plugind.intake.digests import of_fingerprint
from plugind.intake.rejected import Rejected
from plugind.model import Allocation, Fingerprint, Instance, InstanceKey
from plugind.node_schemas import NAME_MAXIMUM, reasons_of
from plugind.plugin_schemas import PluginSchemas
from plugind.plugin_type import ANY_ROLE, PluginType

REFUSED = "the token may not register plugins of this type"
_WAS_REJECTED = "the agent's report of it was rejected:"


@dataclass(frozen=True, slots=True)
class Reported:
    """One item of a report whose type, ID and role are good; ``fingerprint`` None means gone."""

    key: InstanceKey
    fingerprint: Any


def items_of(
    node_id: str,
    plugins: Mapping[str, Any],
    types: Mapping[str, PluginType],
    known: Iterable[InstanceKey],
) -> Iterator[Reported | Rejected]:
    """Takes a report's ``Plugins`` apart; "*" becomes the roles that it stands for.

    ``known`` are the instances held of the node.
    """
    roles_known: dict[tuple[str, str], set[str]] = {}
    for key in known:
        roles_known.setdefault((key.type, key.id), set()).add(key.role)
    for name, of_type in plugins.items():
        if name not in types:
            reason = f"no such plugin type; there are: {', '.join(sorted(types)) or 'none'}"
            yield Rejected(tame(name, NAME_MAXIMUM), "", "", "Type", reason)
        elif not isinstance(of_type, Mapping):
            yield Rejected(name, "", "", "Type", "must be an object of plugin IDs")
        else:
            for id_, by_role in of_type.items():
                held = roles_known.get((name, id_), set())
                yield from _plugin_items(node_id, types[name], id_, by_role, held)


def _plugin_items(
    node_id: str, type_: PluginType, id_: str, by_role: Any, known: set[str]
) -> Iterator[Reported | Rejected]:
    if not ID_PATTERN.fullmatch(id_):
        reason = "must be 1 to 128 letters, digits, '.', '-' or '_', a letter or digit first"
        yield Rejected(type_.name, tame(id_, NAME_MAXIMUM), "", "ID", reason)
        return
    if not isinstance(by_role, Mapping):
        yield Rejected(type_.name, id_, "", "ID", "must be an object of roles")
        return
    for role, fingerprint in by_role.items():
        if role in type_.roles:
            roles = [role]
        elif role == ANY_ROLE:
            roles = _any_role(type_, known, set(by_role))
        else:
            roles = []
        if not roles:
            there = ", ".join(type_.roles)
            reason = (
                "no role is left for it: the report names each by itself"
                if role == ANY_ROLE
                else f"no such role; there are: {there}"
            )
            yield Rejected(type_.name, id_, tame(role, NAME_MAXIMUM), "Role", reason)
        for one in roles:
            yield Reported(InstanceKey(node_id, type_.name, id_, one), fingerprint)


def _any_role(type_: PluginType, known: set[str], named: set[str]) -> list[str]:
    """The roles that "*" stands for: those known of the plugin here, else the default role, else
    what roles there are; never one that the report names by itself."""
    for roles in (known, {type_.default_role}, set(type_.roles)):
        if left := sorted(roles & set(type_.roles) - named):
            return left
    return []


def read(
    item: Reported,
    held: Instance | None,
    schemas: PluginSchemas,
    generation: str,
    allocations: Mapping[str, Allocation],
    now: int,
) -> tuple[Instance, list[Rejected]]:
    """The instance that an item makes of the one held, which is returned itself when nothing is
    new, and what is wrong with the item.

    ``generation`` names the version of the plugin type: what another one validated is not trusted.
    ``allocations`` are those that the report describes.
    """
    process = named_by(item.fingerprint, allocations)
    digest = of_fingerprint(item.fingerprint, generation, process)
    if held is not None and held.missing_since is None and held.digest == digest:
        return held, []
    told, wrong = _load(item, held, schemas, process, now)
    if held is not None and told.says_the_same(held.fingerprint):
        if held.missing_since is None:
            return held, wrong
        told = replace(told, updated=now)
    return Instance(item.key, told, f"!{digest}" if wrong else digest), wrong


def refuse(held: Instance, now: int) -> Instance:
    """The instance held of a type that the report's token may not register; it is returned itself
    when it says so already."""
    text = f"{_WAS_REJECTED} {REFUSED}"
    told = replace(held.fingerprint, healthy=False, description=text, updated=now)
    if held.missing_since is None and told.says_the_same(held.fingerprint):
        return held
    return Instance(held.key, told, "!")  # whatever is taken of it next is another


def _load(
    item: Reported,
    held: Instance | None,
    schemas: PluginSchemas,
    process: Allocation | None,
    now: int,
) -> tuple[Fingerprint, list[Rejected]]:
    role = item.key.role
    last = held.fingerprint if held else None
    raw = item.fingerprint
    try:
        if isinstance(raw, Mapping) and raw.get("Healthy") is False and last is not None:
            # What an unhealthy fingerprint leaves out keeps its last value.
            raw = _merge({"AllocID": last.alloc_id, **last.details}, raw, schemas.reported[role])
        loaded = schemas.reported[role].load(raw)
        details = schemas.details[role].dump(loaded)
        orjson.dumps(details)
    except Exception as error:
        # A plugin type is a stranger's code: its faults are those of its own instances only.
        told = (
            reasons_of(error)
            if isinstance(error, ValidationError)
            else [("", tame(f"the plugin type failed: {type(error).__name__}: {error}", 512))]
        )
        wrong = [Rejected(item.key.type, item.key.id, role, path, reason) for path, reason in told]
        return _rejected(wrong, last, schemas, role, now), wrong
    healthy = loaded["Healthy"]
    text = loaded["HealthDescription"] or ("healthy" if healthy else "unhealthy, no reason given")
    updated = loaded["UpdateTime"] if loaded["UpdateTime"] is not None else now
    alloc_id = loaded["AllocID"]
    allocation = process or last_known(last, alloc_id, healthy=healthy)
    return Fingerprint(healthy, text, updated, alloc_id, details, allocation), []


def _rejected(
    wrong: list[Rejected], last: Fingerprint | None, schemas: PluginSchemas, role: str, now: int
) -> Fingerprint:
    """What stands for a fingerprint that was not taken: unhealthy, with what is wrong with it."""
    reason = "; ".join(f"{one.field}: {one.reason}" if one.field else one.reason for one in wrong)
    text = f"{_WAS_REJECTED} {reason}"[:1024]
    if last is not None:
        return replace(last, healthy=False, description=text, updated=now)
    try:
        details = schemas.nothing_known(role)
    except Exception:  # the same stranger's code as failed of the fingerprint, perhaps
        details = {}
    return Fingerprint(False, text, now, "", details)


def _merge(old: Mapping[str, Any], new: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """``old`` with what is in ``new``, field by field of the schema and those nested in it. A free
    map is one value: parts of two make one that never was."""
    merged = {**old, **new}
    for name, field in schema.load_fields.items():
        key = field.data_key or name
        if isinstance(field, fields.Nested) and _are_maps(old.get(key), new.get(key)):
            merged[key] = _merge(old[key], new[key], field.schema)
    return merged


def _are_maps(*values: Any) -> bool:
    return all(isinstance(value, Mapping) for value in values)
