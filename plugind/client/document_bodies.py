"""Translate a plugin's body from a server with ``wire = "document"`` into the shape of other
servers.

Such a server answers like the samples in Nomad's API documentation
(https://developer.hashicorp.com/nomad/api-docs/plugins): a list of one object without the expected
counts, whose topologies are flat maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_document(body: Any) -> bool:
    """Return whether a decoded body is a list of one object, as only such a server sends it."""
    return isinstance(body, list) and len(body) == 1 and isinstance(body[0], dict)


def as_nomad(body: list[dict[str, Any]], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plugin in the shape of Nomad's servers.

    ``row`` is the plugin's row in the list, which has counts and indexes that the body lacks. If
    ``row`` is empty, the expected counts are the numbers of instances in the body.
    """
    plugin: dict[str, Any] = {"Allocations": [], **row, **body[0]}
    if "ControllersRequired" in plugin:
        plugin["ControllerRequired"] = plugin["ControllersRequired"]
    for key in body[0]:
        plural = key.removesuffix("Healthy")
        by_node = plugin.get(plural)
        if plural != key and isinstance(by_node, dict):
            plugin[plural] = {node_id: _fingerprint(one) for node_id, one in by_node.items()}
            plugin.setdefault(f"{plural}Expected", len(by_node))
    return plugin


def _fingerprint(one: Mapping[str, Any]) -> dict[str, Any]:
    info = one.get("NodeInfo")
    if not (isinstance(info, dict) and isinstance(info.get("AccessibleTopology"), dict)):
        return dict(one)
    segments = {"Segments": info["AccessibleTopology"]}
    return {**one, "NodeInfo": {**info, "AccessibleTopology": segments}}
