"""Derives a node's whole report from what its supervisors hold; pure, and sorted throughout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plugind.agent.allocations import Allocations
from plugind.agent.lines import Key
from plugind.agent.state import Shown, TypeState
from plugind.fields import format_time
from plugind.plugin_type import ANY_ROLE

REASON_MAXIMUM = 300
"""Characters of each reason, where several targets claim one instance."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who reports. ``run_id`` is drawn at each start of an agent."""

    node_id: str
    name: str
    datacenter: str
    version: str
    run_id: str
    attributes: Mapping[str, str] = field(default_factory=dict)


def build(origin: Origin, states: Mapping[str, TypeState]) -> dict[str, Any]:
    """The body of ``PUT /v1/node/ID``, from the state of each type by name."""
    allocations = Allocations(origin.node_id)
    plugins = {type: _plugins(states[type], allocations) for type in sorted(states)}
    return {
        "Name": origin.name,
        "Datacenter": origin.datacenter,
        "Version": origin.version,
        "RunID": origin.run_id,
        "Attributes": dict(origin.attributes),
        "Plugins": {type: ids for type, ids in plugins.items() if ids},
        "Allocations": allocations.described(),
    }


def left(report: Mapping[str, Any], type: str) -> frozenset[Key]:
    """The instances that a report says left on purpose."""
    return frozenset(
        (id, role)
        for id, roles in report["Plugins"].get(type, {}).items()
        for role, fingerprint in roles.items()
        if fingerprint is None
    )


def _plugins(state: TypeState, allocations: Allocations) -> dict[str, dict[str, Any]]:
    shown = state.shown()
    told: dict[Key, Any] = {
        key: allocations.take(_fingerprint(claims)) for key, claims in shown.items()
    }
    for id, role in state.left:
        # One target speaks for all roles of the plugin: this is no time to take one away.
        if (id, ANY_ROLE) not in shown:
            told[id, role] = None
    plugins: dict[str, dict[str, Any]] = {}
    for id, role in sorted(told):
        plugins.setdefault(id, {})[role] = told[id, role]
    return plugins


def _fingerprint(claims: Mapping[str, Shown]) -> dict[str, Any]:
    """What the only target says. Of several the only healthy one counts, for what a dead driver
    left behind takes nothing from the live one; otherwise nobody can tell which is meant."""
    told = {name: shown.fingerprint for name, shown in claims.items()}
    healthy = [name for name, fingerprint in told.items() if fingerprint["Healthy"]]
    fingerprint = next(iter(told.values()))
    if len(claims) > 1 and len(healthy) == 1:
        fingerprint = told[healthy[0]]
        words = fingerprint.get("HealthDescription") or "healthy"
        others = _listed([_reasoned(name, told[name]) for name in told if name != healthy[0]])
        fingerprint = {**fingerprint, "HealthDescription": f"{words}; also claimed by {others}"}
    elif len(claims) > 1:
        fingerprint = {"Healthy": False, "HealthDescription": _disputed(told)}
    updated = max(shown.updated for shown in claims.values())
    return {**fingerprint, "UpdateTime": format_time(updated)}


def _disputed(told: Mapping[str, Mapping[str, Any]]) -> str:
    number = "two" if len(told) == 2 else str(len(told))
    claimants = [_reasoned(name, fingerprint) for name, fingerprint in told.items()]
    return f"claimed by {number} targets: {_listed(claimants)}"


def _reasoned(name: str, fingerprint: Mapping[str, Any]) -> str:
    """A target by its name, with why it is not healthy."""
    if fingerprint["Healthy"]:
        return name
    reason = str(fingerprint.get("HealthDescription") or "unhealthy")
    return f"{name} ({reason[:REASON_MAXIMUM]})"


def _listed(words: list[str]) -> str:
    more = [f"{len(words) - 3} more"] if len(words) > 3 else []
    *first, last = [*words[:3], *more]
    return f"{', '.join(first)} and {last}" if first else last
