"""The data behind ``plugind plugin status``: plugins, and their selected instances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from plugind.cli.connection import PluginTypeInfo
from plugind.cli.finding import Stubs, check_datacenter, find_node
from plugind.client import Client
from plugind.errors import Refused

Rows = Mapping[str, list[dict[str, Any]]]
"""The rows of each type's list, by the type's name."""


@dataclass(frozen=True)
class Instance:
    """One instance, with its plugin's ID and its node's name, or node ID if that is unknown."""

    type: PluginTypeInfo
    plugin_id: str
    role: str
    node_id: str
    node_name: str
    fingerprint: Mapping[str, Any]

    @property
    def healthy(self) -> bool:
        return bool(self.fingerprint["Healthy"])


@dataclass(frozen=True)
class Selection:
    """A choice of instances: by the node's ID, by the datacenter, unhealthy ones only."""

    node_id: str | None = None
    datacenter: str | None = None
    unhealthy: bool = False

    @classmethod
    def of(
        cls, client: Client, node: str | None, datacenter: str | None, unhealthy: bool
    ) -> Selection:
        """Return the selection for a command's options. Raise ClientError for unknown names."""
        if node is None and datacenter is None:
            return cls(unhealthy=unhealthy)
        stubs = client.nodes().value
        if datacenter is not None:
            check_datacenter(stubs, datacenter)
        node_id = None if node is None else find_node(stubs, node)
        return cls(node_id, datacenter, unhealthy)

    @property
    def by_node(self) -> bool:
        return self.node_id is not None or self.datacenter is not None

    def node_ids(self, stubs: Stubs) -> set[str]:
        """Return the IDs of the selected nodes; the datacenter is the one they are in now."""
        return {
            stub["ID"]
            for stub in stubs
            if self.node_id in (None, stub["ID"]) and self.datacenter in (None, stub["Datacenter"])
        }


@dataclass(frozen=True)
class Overview:
    """The selected plugins, and their unhealthy instances."""

    types: tuple[PluginTypeInfo, ...]
    selection: Selection
    rows: Rows
    broken: tuple[Instance, ...]


@dataclass(frozen=True)
class OnePlugin:
    """One plugin and its selected instances.

    ``body`` has only these instances, too; it is None once the plugin is gone.
    """

    type: PluginTypeInfo
    body: Mapping[str, Any] | None
    instances: tuple[Instance, ...] = ()


def overview(
    client: Client, types: list[PluginTypeInfo], rows: Rows, selection: Selection
) -> Overview:
    """Return the selected rows, with data that lists do not have: instances and names of nodes.

    Only plugins with fewer healthy instances than expected are read, unless nodes are selected.
    Raise ClientError.
    """
    bodies = {
        (type_.name, row["ID"]): body
        for type_ in types
        for row in rows[type_.name]
        if (selection.by_node or is_short(type_, row))
        and (body := plugin_body(client, type_, row["ID"])) is not None
    }
    stubs = node_stubs(client, required=selection.by_node) if bodies else []
    wanted = selection.node_ids(stubs) if selection.by_node else None
    kept: dict[str, list[dict[str, Any]]] = {type_.name: [] for type_ in types}
    broken: list[Instance] = []
    for type_ in types:
        for row in rows[type_.name]:
            body = bodies.get((type_.name, row["ID"]))
            found = list(instances(type_, body, stubs, wanted)) if body else []
            unhealthy = [one for one in found if not one.healthy]
            if wanted is not None:
                is_kept = bool(unhealthy if selection.unhealthy else found)
            else:
                is_kept = not selection.unhealthy or is_short(type_, row)
            if is_kept:
                kept[type_.name].append(row)
                broken += unhealthy
    return Overview(tuple(types), selection, kept, tuple(broken))


def one_plugin(
    client: Client, type_: PluginTypeInfo, body: Mapping[str, Any] | None, selection: Selection
) -> OnePlugin:
    """Return a plugin's body with the selected instances. Raise ClientError."""
    if body is None:
        return OnePlugin(type_, None)
    stubs = node_stubs(client, required=selection.by_node)
    wanted = selection.node_ids(stubs) if selection.by_node else None
    found = tuple(
        one
        for one in instances(type_, body, stubs, wanted)
        if not (selection.unhealthy and one.healthy)
    )
    maps = {
        plural: {one.node_id: one.fingerprint for one in found if one.role == role}
        for role, plural in type_.plurals.items()
    }
    return OnePlugin(type_, {**body, **maps}, found)


def instances(
    type_: PluginTypeInfo,
    body: Mapping[str, Any],
    stubs: Stubs = (),
    node_ids: set[str] | None = None,
) -> Iterator[Instance]:
    """Return the instances in a plugin's body, restricted to ``node_ids`` unless it is None.

    A node's name is taken from its stub, or else from the plugin's allocations on that node; if
    neither has it, the node's ID is used.
    """
    names = {one["NodeID"]: one["NodeName"] for one in body["Allocations"] if one["NodeName"]}
    names |= {stub["ID"]: stub["Name"] for stub in stubs}
    for role, plural in type_.plurals.items():
        for node_id, one in body[plural].items():
            if node_ids is None or node_id in node_ids:
                yield Instance(type_, body["ID"], role, node_id, names.get(node_id, node_id), one)


def is_short(type_: PluginTypeInfo, row: Mapping[str, Any]) -> bool:
    """Return whether any role has fewer healthy instances than expected."""
    plurals = type_.plurals.values()
    return any(row[f"{plural}Healthy"] < row[f"{plural}Expected"] for plural in plurals)


def node_stubs(client: Client, *, required: bool = False) -> Stubs:
    """Return the nodes' stubs.

    When the token may not read nodes, return none or, if they are ``required``, raise Refused.
    """
    try:
        stubs: Stubs = client.nodes().value
    except Refused as error:
        if required or error.status != 403:
            raise
        return []
    return stubs


def plugin_body(client: Client, type_: PluginTypeInfo, plugin_id: str) -> dict[str, Any] | None:
    """Return a plugin's body; None when the plugin has disappeared in the meantime."""
    try:
        body: dict[str, Any] = client.plugin(type_.name, plugin_id).value
    except Refused as error:
        if error.status != 404:
            raise
        return None
    return body
