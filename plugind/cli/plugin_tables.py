"""Plugins as tables for people; what only one plugin type has is shown as it comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType

from plugind.cli import output
from plugind.cli.connection import PluginTypeInfo
from plugind.client import Client
from plugind.errors import Refused

_CORE_KEYS = {"ID", "CreateIndex", "ModifyIndex", "CreateTime", "ModifyTime", "Allocations"}


def list_tables(
    client: Client, types: list[PluginTypeInfo], rows: dict[str, list[dict[str, Any]]]
) -> RenderableType:
    """The table of all plugins, and one of the instances that are not healthy."""
    every = [(type_, row) for type_ in types for row in rows[type_.name]]
    if not every:
        return "No plugins."
    plugins = output.table(
        ["Type", "ID", "About", "Healthy/Expected", "Health"],
        [
            [type_.name, row["ID"], _extras(row), counts(type_, row), verdict(type_, row)]
            for type_, row in every
        ],
    )
    short = [(type_, row["ID"]) for type_, row in every if _is_short(type_, row)]
    if not short:
        return plugins
    names = node_names(client)
    broken = [line for type_, id_ in short for line in _unhealthy(client, type_, id_, names)]
    if not broken:  # what is missing was declared, and no machine has it
        return plugins
    header = ["Type", "ID", "Role", "Node", "Unhealthy since", "Reason"]
    return Group(plugins, "", output.table(header, broken))


def _unhealthy(
    client: Client, type_: PluginTypeInfo, plugin_id: str, names: dict[str, str]
) -> Iterator[list[str]]:
    """What a plugin's unhealthy instances say; nothing when the plugin went meanwhile."""
    try:
        body = client.plugin(type_.name, plugin_id).value
    except Refused as error:
        if error.status == 404:
            return
        raise
    for role, node_id, one in instances(type_, body):
        if not one["Healthy"]:
            told = [output.since(one["UpdateTime"]), one["HealthDescription"]]
            yield [type_.name, plugin_id, role, names.get(node_id, node_id), *told]


def plugin_tables(
    type_: PluginTypeInfo, body: dict[str, Any], names: dict[str, str]
) -> RenderableType:
    """One plugin: what is known of it as a whole, and its instances."""
    known = {"ID": body["ID"], "Type": type_.name}
    known |= {key: str(value) for key, value in body.items() if _is_extra(type_, key, value)}
    for plural in type_.plurals.values():
        known[plural] = f"{body[f'{plural}Healthy']}/{body[f'{plural}Expected']} healthy"
    processes = output.process_names(body["Allocations"])
    rows = [
        [
            names.get(node_id, node_id),
            node_id[:8],
            role,
            output.health(one["Healthy"]),
            output.since(one["UpdateTime"]),
            *([processes.get((node_id, one["AllocID"]), "")] if processes else []),
            one["HealthDescription"],
        ]
        for role, node_id, one in instances(type_, body)
    ]
    known_of = ["Process"] if processes else []
    header = ["Node", "Node ID", "Role", "Health", "Since", *known_of, "Description"]
    return Group(output.pairs(known), "", output.table(header, rows) if rows else "No instances.")


def instances(
    type_: PluginTypeInfo, body: dict[str, Any]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Role, node ID and fingerprint of each instance in a body."""
    for role, plural in type_.plurals.items():
        for node_id, one in body[plural].items():
            yield role, node_id, one


def counts(type_: PluginTypeInfo, row: dict[str, Any]) -> str:
    counts = (
        f"{plural} {row[f'{plural}Healthy']}/{row[f'{plural}Expected']}"
        for plural in type_.plurals.values()
    )
    return ", ".join(counts)


def _is_short(type_: PluginTypeInfo, row: dict[str, Any]) -> bool:
    """Whether fewer are healthy than are expected, in any role."""
    plurals = type_.plurals.values()
    return any(row[f"{plural}Healthy"] < row[f"{plural}Expected"] for plural in plurals)


def verdict(type_: PluginTypeInfo, row: dict[str, Any]) -> str:
    if not _is_short(type_, row):
        return "healthy"
    some = any(row[f"{plural}Healthy"] for plural in type_.plurals.values())
    return "degraded" if some else "unhealthy"


def _extras(row: dict[str, Any]) -> str:
    """What a type's rows have in words beyond the core's fields: a provider's name, say."""
    words = (value for key, value in sorted(row.items()) if key not in _CORE_KEYS)
    return " ".join(value for value in words if isinstance(value, str))


def _is_extra(type_: PluginTypeInfo, key: str, value: Any) -> bool:
    counts = {
        f"{plural}{kind}" for plural in type_.plurals.values() for kind in ("Healthy", "Expected")
    }
    return key not in _CORE_KEYS | counts and isinstance(value, str | int | float)


def node_names(client: Client) -> dict[str, str]:
    """The nodes' names by their IDs."""
    return {node["ID"]: node["Name"] for node in client.nodes().value}
