"""The summary of a CSI plugin, from the fingerprints of all its instances."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from typing import Any

from plugin_types.csi.roles import CONTROLLER, NODE
from plugind.model import Fingerprint


def summarise(fingerprints: Mapping[str, Collection[Fingerprint]]) -> dict[str, Any]:
    """Return the values of the row and the body, in one pass; the order of fingerprints does not
    matter.

    If instances disagree (during an upgrade), Provider and Version are those of the healthy
    instance that was updated last; if none is healthy, those of the last that reported any.
    """
    said = (
        (one.healthy, one.updated, provider, one.details.get("ProviderVersion", ""))
        for one in chain.from_iterable(fingerprints.values())
        if (provider := one.details.get("Provider"))
    )
    _, _, provider, version = max(said, default=(False, 0, "", ""))
    required = any(map(_needs_controller, fingerprints.get(CONTROLLER, ())))
    return {
        "Provider": provider,
        "Version": version,
        "ControllerRequired": required,
        "ControllersRequired": required,
        "Topologies": _topologies(fingerprints.get(NODE, ())),
    }


def _needs_controller(fingerprint: Fingerprint) -> bool:
    """Return whether a controller is required; by Nomad's rule, it is if it attaches volumes."""
    info = fingerprint.details.get("ControllerInfo", {})
    return bool(
        fingerprint.details.get("RequiresControllerPlugin")
        and (info.get("SupportsAttachDetach") or info.get("SupportsReadOnlyAttach"))
    )


def _topologies(fingerprints: Iterable[Fingerprint]) -> list[dict[str, str]]:
    said = {
        tuple(topology.get("Segments", {}).items())
        for fingerprint in fingerprints
        if (topology := fingerprint.details.get("NodeInfo", {}).get("AccessibleTopology"))
    }
    distinct = {tuple(sorted(segments)) for segments in said if segments}
    return [dict(segments) for segments in sorted(distinct)]
