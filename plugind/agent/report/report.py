"""Derives a node's whole report from the states of its supervisors; pure, and sorted throughout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plugind.agent.allocations import Allocations
from plugind.agent.prober.results import SUCCESSION
from plugind.agent.protocol import Key
from plugind.agent.state import Shown, TypeState
from plugind.model.times import format_time
from plugind.plugin_type import ANY_ROLE
from plugind.wire.texts import tame

ATTRIBUTE_MAXIMUM = 1_024
"""Characters of a node's attribute; a server takes 4,096."""

REASON_MAXIMUM = 300
"""Characters of each reason, where several targets claim one instance."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The node that reports. ``run_id`` is drawn at each start of an agent; ``address`` is
    HOST:PORT, or "" where it is not known."""

    node_id: str
    name: str
    datacenter: str
    version: str
    run_id: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    node_class: str = ""
    address: str = ""


def build(origin: Origin, states: Mapping[str, TypeState]) -> dict[str, Any]:
    """Return the body of ``PUT /v1/node/ID``, from the state of each type by name."""
    allocations = Allocations(origin.node_id)
    plugins = {type: _plugins(states[type], allocations) for type in sorted(states)}
    # No instance can be shown for a failing target whose plugins' IDs are not known, so the node
    # itself says which it is, and why.
    nameless = {
        f"plugin_type.{type}.nameless": tame(states[type].hidden, ATTRIBUTE_MAXIMUM)
        for type in sorted(states)
        if states[type].nameless
    }
    return {
        "Name": origin.name,
        "Datacenter": origin.datacenter,
        "Version": origin.version,
        "RunID": origin.run_id,
        "Address": origin.address,
        "NodeClass": origin.node_class,
        "Meta": dict(origin.meta),
        "Attributes": {**origin.attributes, **nameless},
        "Plugins": {type: ids for type, ids in plugins.items() if ids},
        "Allocations": allocations.described(),
    }


def left(report: Mapping[str, Any], type: str) -> frozenset[Key]:
    """Return the instances that a report says left on purpose."""
    return frozenset(
        (id, role)
        for id, roles in report["Plugins"].get(type, {}).items()
        for role, fingerprint in roles.items()
        if fingerprint is None
    )


def _plugins(state: TypeState, allocations: Allocations) -> dict[str, dict[str, Any]]:
    shown = state.shown()
    reported: dict[Key, Any] = {
        key: allocations.take(
            _fingerprint(_contenders(claims))
            | ({"Configured": True} if state.configured & claims.keys() else {})
        )
        for key, claims in shown.items()
    }
    for id, role in state.left:
        # While one target covers all roles of the plugin, none of them can be taken away.
        if (id, ANY_ROLE) not in shown:
            reported[id, role] = None
    plugins: dict[str, dict[str, Any]] = {}
    for id, role in sorted(reported):
        plugins.setdefault(id, {})[role] = reported[id, role]
    return plugins


def _contenders(claims: Mapping[str, Shown]) -> dict[str, Shown]:
    """Return the claims that count: of those in one succession only the one of highest rank.

    A claim whose succession is not known yet (``Of`` is empty) is in that of every other.
    """
    ranked = {
        name: shown.fingerprint[SUCCESSION]
        for name, shown in claims.items()
        if SUCCESSION in shown.fingerprint
    }
    speakers = claims.keys() - ranked.keys()
    for of in {succession["Of"] for succession in ranked.values() if succession["Of"]} or {""}:
        among = [name for name in sorted(ranked) if ranked[name]["Of"] in ("", of)]
        speakers |= {max(among, key=lambda name: ranked[name]["Rank"])} if among else set()
    return {name: shown for name, shown in claims.items() if name in speakers}


def _fingerprint(claims: Mapping[str, Shown]) -> dict[str, Any]:
    """Return the fingerprint of an instance from the targets that claim it.

    Of several the only healthy one counts, because the remains of a dead driver must not hide the
    live one. Otherwise the instance is unhealthy: it is unknown which target is meant.
    """
    claimed = {name: shown.fingerprint for name, shown in claims.items()}
    healthy = [name for name, fingerprint in claimed.items() if fingerprint["Healthy"]]
    fingerprint = next(iter(claimed.values()))
    if len(claims) > 1 and len(healthy) == 1:
        fingerprint = claimed[healthy[0]]
        words = fingerprint.get("HealthDescription") or "healthy"
        others = _listed([_reasoned(name, claimed[name]) for name in claimed if name != healthy[0]])
        fingerprint = {**fingerprint, "HealthDescription": f"{words}; also claimed by {others}"}
    elif len(claims) > 1:
        number = "two" if len(claimed) == 2 else str(len(claimed))
        claimants = _listed([_reasoned(name, claimed[name]) for name in claimed])
        reason = f"claimed by {number} targets: {claimants}"
        fingerprint = {"Healthy": False, "HealthDescription": reason}
    updated = max(shown.updated for shown in claims.values())
    rest = {name: value for name, value in fingerprint.items() if name != SUCCESSION}
    return {**rest, "UpdateTime": format_time(updated)}


def _reasoned(name: str, fingerprint: Mapping[str, Any]) -> str:
    """Return a target's name, followed by the reason why it is not healthy."""
    if fingerprint["Healthy"]:
        return name
    reason = str(fingerprint.get("HealthDescription") or "unhealthy")
    return f"{name} ({reason[:REASON_MAXIMUM]})"


def _listed(words: list[str]) -> str:
    more = [f"{len(words) - 3} more"] if len(words) > 3 else []
    *first, last = [*words[:3], *more]
    return f"{', '.join(first)} and {last}" if first else last
