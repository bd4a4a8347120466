"""The two halves of a CSI plugin and what each is called on the wire."""

from __future__ import annotations

CONTROLLER = "controller"
NODE = "node"
ROLES = {CONTROLLER: "Controllers", NODE: "Nodes"}
"""The plural of each role, as in ControllersHealthy."""
