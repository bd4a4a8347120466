"""The summary of a CNI plugin, from the fingerprints of all its instances."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from plugin_types.cni.networks import version_order
from plugin_types.cni.schemas import EXECUTABLE, NETWORK
from plugind.model import Fingerprint


def summarise(fingerprints: Mapping[str, Collection[Fingerprint]]) -> dict[str, Any]:
    """Return the values of the row and the body; the order of the fingerprints does not matter.

    A version counts as supported when every healthy executable supports it, because a network
    should work on every node; if none is healthy, when every one that reported versions does.
    """
    executables = fingerprints.get(EXECUTABLE, ())
    networks = fingerprints.get(NETWORK, ())
    healthy = [one for one in executables if one.healthy]
    reported = [set(one.details.get("SupportedVersions", ())) for one in healthy or executables]
    common = set.intersection(*filter(None, reported)) if any(reported) else set()
    supported = sorted(common, key=version_order)
    written = (one.details.get("CNIVersion", "") for one in networks)
    return {
        "CNIVersion": max(supported or written, key=version_order, default=""),
        "SupportedVersions": supported,
        "UsedBy": _all("UsedBy", executables),
        "Needs": _all("Needs", networks),
    }


def _all(name: str, fingerprints: Iterable[Fingerprint]) -> list[str]:
    return sorted({each for one in fingerprints for each in one.details.get(name, ())})
