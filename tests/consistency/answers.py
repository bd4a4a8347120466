"""What plugind's answers and events show, in the form that the checker compares."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tests.consistency.operations import NODES, PLUGIN_TYPE, PLUGINS, Content, Happened, Line

ROLES = {"Controllers": "controller", "Nodes": "node"}
_OF_NODE = {"CSIControllerPlugins": "controller", "CSINodePlugins": "node"}
_EVENTS = ("appeared", "healthy", "unhealthy", "reason", "version", "left")


def plugin_of(id_: str) -> str:
    """Return the resource of a plugin."""
    return f"plugin/{PLUGIN_TYPE}/{id_}"


def node_of(id_: str) -> str:
    """Return the resource of a node."""
    return f"node/{id_}"


def path_of(resource: str) -> str:
    """Return the path at which a resource is read."""
    return f"/v1/plugins?type={PLUGIN_TYPE}" if resource == PLUGINS else f"/v1/{resource}"


def content_of(resource: str, body: bytes) -> Content:
    """Return the content that the body of a read shows."""
    value = json.loads(body)
    if resource == PLUGINS:
        return {row["ID"]: plugin_row(row) for row in value}
    if resource == NODES:
        return {row["ID"]: str(row["ModifyIndex"]) for row in value}
    if resource.startswith("plugin/"):
        return plugin_content(value)
    return _texts(value, _OF_NODE)


def plugin_row(row: Mapping[str, Any]) -> str:
    """Return the part of a plugin's row in the list that is compared."""
    return row_text(row["ControllersExpected"], row["NodesExpected"], row["ModifyIndex"])


def row_text(controllers: int, nodes: int, index: int) -> str:
    return f"{controllers} controllers, {nodes} nodes, last changed at {index}"


def plugin_content(value: Mapping[str, Any]) -> Content:
    return _texts(value, ROLES)


def _texts(value: Mapping[str, Any], maps: Mapping[str, str]) -> Content:
    return {
        f"{id_}/{role}": fingerprint["HealthDescription"]
        for name, role in maps.items()
        for id_, fingerprint in value[name].items()
    }


def happened(row: Mapping[str, Any]) -> Happened | None:
    """Return the transition of an instance in a row of history or in an event's payload; None for a
    transition of a node or a declaration."""
    if row["Type"] != PLUGIN_TYPE or row["Event"] not in _EVENTS:
        return None
    text = row["Reason"]
    return Happened(row["Index"], row["NodeID"], row["ID"], row["Role"], row["Event"], text)


def line_of(server: str, connection: int, text: bytes) -> Line | None:
    """Return a line of an event stream; None for a heartbeat. Raise ValueError for the line that
    says why the stream ends."""
    value = json.loads(text)
    if not value:
        return None
    if "Error" in value:
        raise ValueError(value["Error"])
    events = value["Events"]
    return Line(
        server,
        connection,
        value["Index"],
        tuple(_transitions(events)),
        tuple(_shown(events)),
        any(each["Type"] == "Gap" for each in events),
    )


def _transitions(events: Iterable[Mapping[str, Any]]) -> Iterable[Happened]:
    for event in events:
        if event["Topic"] == "Plugin" and event["Type"] != "Gap":
            found = happened(event["Payload"])
            if found is not None:
                yield found


def _shown(events: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, int, Content]]:
    """Yield the content that events show for each plugin; a plugin that left is shown as it last
    was."""
    for event in events:
        if event["Topic"] == "CSIPlugin" and event["Type"] != "NodeDeregistration":
            content = plugin_content(event["Payload"]["Plugin"])
            yield plugin_of(event["Key"]), event["Index"], content
