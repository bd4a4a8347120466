"""The allocations of a report, made from the processes that fingerprints name."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

PROCESS = "Process"


class Allocations:
    """The processes on a node, each listed once, under an ID that no process of any node shares.

    The ID is that of the allocation that the process says it belongs to, or else one derived from
    the node and the process.
    """

    def __init__(self, node_id: str) -> None:
        self._node = uuid.UUID(node_id)
        self._described: dict[str, dict[str, Any]] = {}

    def take(self, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fingerprint as a server expects it: with the ID of its process instead of the
        process's details."""
        rest = {key: value for key, value in fingerprint.items() if key != PROCESS}
        if (process := fingerprint.get(PROCESS)) is None:
            return rest
        id_ = process.get("AllocID") or str(uuid.uuid5(self._node, process["Key"]))
        self._described[id_] = {
            key: process[key] for key in process if key not in ("Key", "AllocID")
        }
        return {**rest, "AllocID": id_}

    def described(self) -> dict[str, dict[str, Any]]:
        """Return the details of all processes taken so far, by ID, sorted."""
        return dict(sorted(self._described.items()))
