"""Derives a node's whole report from what its supervisors hold; pure, and sorted throughout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plugind.agent.lines import Key
from plugind.agent.state import Shown, TypeState
from plugind.fields import format_time
from plugind.plugin_type import ANY_ROLE


@dataclass(frozen=True, slots=True)
class Origin:
    """Who reports. ``run_id`` is drawn at each start of an agent."""

    name: str
    datacenter: str
    version: str
    run_id: str


def build(origin: Origin, states: Mapping[str, TypeState]) -> dict[str, Any]:
    """The body of ``PUT /v1/node/ID`` (WIRE, Writes), from the state of each type by name."""
    plugins = {type: _plugins(states[type]) for type in sorted(states)}
    return {
        "Name": origin.name,
        "Datacenter": origin.datacenter,
        "Version": origin.version,
        "RunID": origin.run_id,
        "Plugins": {type: ids for type, ids in plugins.items() if ids},
    }


def left(report: Mapping[str, Any], type: str) -> frozenset[Key]:
    """The instances that a report says left on purpose."""
    return frozenset(
        (id, role)
        for id, roles in report["Plugins"].get(type, {}).items()
        for role, fingerprint in roles.items()
        if fingerprint is None
    )


def _plugins(state: TypeState) -> dict[str, dict[str, Any]]:
    shown = state.shown()
    told: dict[Key, Any] = {key: _fingerprint(claims) for key, claims in shown.items()}
    for id, role in state.left:
        # One target speaks for all roles of the plugin: this is no time to take one away.
        if (id, ANY_ROLE) not in shown:
            told[id, role] = None
    plugins: dict[str, dict[str, Any]] = {}
    for id, role in sorted(told):
        plugins.setdefault(id, {})[role] = told[id, role]
    return plugins


def _fingerprint(claims: Mapping[str, Shown]) -> dict[str, Any]:
    """What the only target says; of several nobody can tell which one is meant."""
    fingerprint = next(iter(claims.values())).fingerprint
    if len(claims) > 1:
        fingerprint = {"Healthy": False, "HealthDescription": _disputed(list(claims))}
    updated = max(shown.updated for shown in claims.values())
    return {**fingerprint, "UpdateTime": format_time(updated)}


def _disputed(names: list[str]) -> str:
    if len(names) == 2:
        return f"claimed by two targets: {names[0]} and {names[1]}"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"claimed by {len(names)} targets: {', '.join(names[:3])}{more}"
