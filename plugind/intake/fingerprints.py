"""Converts a report's fingerprints to instances. An invalid one does not affect the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from marshmallow import Schema, ValidationError, fields

from plugind.intake.allocations import last_known, named_by
from plugind.intake.digests import of_fingerprint
from plugind.intake.rejected import WAS_REJECTED, Rejected
from plugind.intake.sizes import REASON, is_too_large
from plugind.model import Allocation, Fingerprint, Instance, InstanceKey
from plugind.plugin_type import ANY_ROLE, PluginType
from plugind.schemas.nodes import NAME_MAXIMUM, reasons_of
from plugind.schemas.plugins import PluginSchemas
from plugind.wire.fields import ID_PATTERN
from plugind.wire.texts import tame

REFUSED = "the token may not register plugins of this type"


class Reported(NamedTuple):
    """One item of a report with a valid type, ID and role; ``fingerprint`` None means gone."""

    key: InstanceKey
    fingerprint: Any


def items_of(
    node_id: str,
    plugins: Mapping[str, Any],
    types: Mapping[str, PluginType],
    known: Iterable[InstanceKey],
    forgotten: Iterable[InstanceKey] = (),
) -> Iterator[Reported | Rejected]:
    """Yield the items of a report's ``Plugins``; "*" is replaced by the roles that it stands for.

    ``known`` are the instances that the state has of the node, ``forgotten`` those that are
    remembered as forgotten.
    """
    for name, of_type in plugins.items():
        if name not in types:
            reason = f"no such plugin type; there are: {', '.join(sorted(types)) or 'none'}"
            yield Rejected(tame(name, NAME_MAXIMUM), "", "", "Type", reason)
        elif not isinstance(of_type, dict):
            yield Rejected(name, "", "", "Type", "must be an object of plugin IDs")
        else:
            for id_, by_role in of_type.items():
                yield from _plugin_items(node_id, types[name], id_, by_role, (known, forgotten))


def _plugin_items(
    node_id: str,
    type_: PluginType,
    id_: str,
    by_role: Any,
    known: Sequence[Iterable[InstanceKey]],
) -> Iterator[Reported | Rejected]:
    if not ID_PATTERN.fullmatch(id_):
        reason = "must be 1 to 128 letters, digits, '.', '-' or '_', a letter or digit first"
        yield Rejected(type_.name, tame(id_, NAME_MAXIMUM), "", "ID", reason)
        return
    if not isinstance(by_role, dict):
        yield Rejected(type_.name, id_, "", "ID", "must be an object of roles")
        return
    for role, fingerprint in by_role.items():
        if role in type_.roles:
            yield Reported(InstanceKey(node_id, type_.name, id_, role), fingerprint)
        elif role == ANY_ROLE and (roles := _any_role(type_, id_, known, set(by_role))):
            for one in roles:
                yield Reported(InstanceKey(node_id, type_.name, id_, one), fingerprint)
        else:
            there = ", ".join(type_.roles)
            reason = (
                "no role is left for it: the report names each by itself"
                if role == ANY_ROLE
                else f"no such role; there are: {there}"
            )
            yield Rejected(type_.name, id_, tame(role, NAME_MAXIMUM), "Role", reason)


def _any_role(
    type_: PluginType, id_: str, known: Sequence[Iterable[InstanceKey]], named: set[str]
) -> list[str]:
    """Return the roles that "*" stands for: the plugin's roles in the first ``known`` collection,
    else in the next one, else the default role, else all roles. Roles that the report names itself
    do not count."""
    sets = [{key.role for key in keys if (key.type, key.id) == (type_.name, id_)} for keys in known]
    for roles in (*sets, {type_.default_role}, set(type_.roles)):
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
    """Return the instance after an item was applied to the one ``held``, and the item's problems.

    If nothing changes, the result is ``held`` itself.

    ``generation`` names the version of the plugin type: data that another version validated is not
    trusted. ``allocations`` are those that the report describes.
    """
    if is_too_large(item.fingerprint):
        wrong = [Rejected(item.key.type, item.key.id, item.key.role, "", REASON)]
        last = held.fingerprint if held else None
        fingerprint = _rejected(wrong, last, schemas, item.key.role, now)
        return _instance(item.key, held, fingerprint, "!", now), wrong
    process = named_by(item.fingerprint, allocations)
    digest = of_fingerprint(item.fingerprint, generation, process)
    if held is not None and held.missing_since is None and held.digest == digest:
        return held, []
    fingerprint, wrong = _load(item, held, schemas, process, now)
    return _instance(item.key, held, fingerprint, f"!{digest}" if wrong else digest, now), wrong


def refuse(held: Instance, now: int) -> Instance:
    """Return the instance ``held``, marked as one whose type the report's token may not register;
    return ``held`` itself if it is marked already."""
    text = f"{WAS_REJECTED} {REFUSED}"
    fingerprint = held.fingerprint.changed(healthy=False, description=text, updated=now)
    return _instance(held.key, held, fingerprint, "!", now)  # equal to the digest of no report


def _instance(
    key: InstanceKey, held: Instance | None, fingerprint: Fingerprint, digest: str, now: int
) -> Instance:
    """Return the instance with a fingerprint; return ``held`` if it already has the same one."""
    if held is not None and fingerprint.says_the_same(held.fingerprint):
        if held.missing_since is None:
            return held
        # It was missing, and is reported again unchanged: a healthy instance counts as healthy from
        # now on, an unhealthy one as unhealthy for as long as before.
        last = held.fingerprint
        fingerprint = last.changed(updated=now) if last.healthy else last
    return Instance(key, fingerprint, digest)


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
        if isinstance(raw, dict) and raw.get("Healthy") is False and last is not None:
            # Fields that an unhealthy fingerprint leaves out keep their last values.
            raw = _merge({"AllocID": last.alloc_id, **last.details}, raw, schemas.reported[role])
        loaded, details = schemas.read(role, raw)
        orjson.dumps(details)
    except Exception as error:
        # A plugin type is third-party code: its faults must affect its own instances only.
        found = (
            reasons_of(error)
            if isinstance(error, ValidationError)
            else [("", tame(f"the plugin type failed: {type(error).__name__}: {error}", 512))]
        )
        wrong = [Rejected(item.key.type, item.key.id, role, path, reason) for path, reason in found]
        return _rejected(wrong, last, schemas, role, now), wrong
    healthy = loaded["Healthy"]
    text = loaded["HealthDescription"] or ("healthy" if healthy else "unhealthy, no reason given")
    # An agent's clock may be ahead, but the time of an update cannot be in the future.
    updated = now if loaded["UpdateTime"] is None else min(loaded["UpdateTime"], now)
    alloc_id = loaded["AllocID"]
    allocation = process or last_known(last, alloc_id, healthy=healthy)
    return Fingerprint(healthy, text, updated, alloc_id, details, allocation), []


def _rejected(
    wrong: list[Rejected], last: Fingerprint | None, schemas: PluginSchemas, role: str, now: int
) -> Fingerprint:
    """Return a fingerprint that replaces a rejected one: unhealthy, with the problems."""
    reason = "; ".join(f"{one.field}: {one.reason}" if one.field else one.reason for one in wrong)
    text = f"{WAS_REJECTED} {reason}"[:1024]
    if last is not None:
        return last.changed(healthy=False, description=text, updated=now)
    try:
        details = schemas.nothing_known(role)
    except Exception:  # perhaps the same third-party code that failed on the fingerprint
        details = {}
    return Fingerprint(False, text, now, "", details)


def _merge(old: Mapping[str, Any], new: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """Return ``old`` updated with ``new``, by the fields of the schema and of nested schemas.

    A free-form map is replaced as a whole: a mixture of two maps would be one that was never
    reported.
    """
    merged = {**old, **new}
    for name, field in schema.load_fields.items():
        key = field.data_key or name
        if isinstance(field, fields.Nested):
            match old.get(key), new.get(key):
                case Mapping() as before, Mapping() as after:
                    merged[key] = _merge(before, after, field.schema)
    return merged
