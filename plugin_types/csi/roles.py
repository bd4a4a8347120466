"""The two halves of a CSI plugin, and their names on the wire."""

from __future__ import annotations

CONTROLLER = "controller"
NODE = "node"
ROLES = {CONTROLLER: "Controllers", NODE: "Nodes"}
"""The plural of each role, as in ControllersHealthy."""
