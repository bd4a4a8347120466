"""From the processes that fingerprints name to the allocations of a report."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

PROCESS = "Process"


class Allocations:
    """The processes on a node, each once, under IDs that no other process has on any node."""

    def __init__(self, node_id: str) -> None:
        self._node = uuid.UUID(node_id)
        self._described: dict[str, dict[str, Any]] = {}

    def take(self, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
        """The fingerprint as a server takes it: with the ID of its process in the place of what is
        known of it."""
        told = {key: value for key, value in fingerprint.items() if key != PROCESS}
        if (process := fingerprint.get(PROCESS)) is None:
            return told
        id_ = str(uuid.uuid5(self._node, process["Key"]))
        self._described[id_] = {key: process[key] for key in process if key != "Key"}
        return {**told, "AllocID": id_}

    def described(self) -> dict[str, dict[str, Any]]:
        """What is known of those that were taken, by ID, sorted."""
        return dict(sorted(self._described.items()))
