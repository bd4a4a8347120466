"""Plugins as tables for people; fields that only one plugin type has are shown unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType

from plugind.cli import output
from plugind.cli.connection import PluginTypeInfo
from plugind.cli.output import Column
from plugind.cli.overview import OnePlugin, Overview, is_short

_CORE_KEYS = {"ID", "CreateIndex", "ModifyIndex", "CreateTime", "ModifyTime", "Allocations"}


def list_tables(shown: Overview) -> RenderableType:
    """Return a table of the plugins, and one of the unhealthy instances."""
    every = [(type_, row) for type_ in shown.types for row in shown.rows[type_.name]]
    if not every:
        unhealthy = "unhealthy " if shown.selection.unhealthy else ""
        return f"No {unhealthy}plugins{' there' if shown.selection.by_node else ''}."
    plugins = output.table(
        [
            Column("Type", drop=2),
            Column("ID"),
            Column("About", drop=1),
            Column("Healthy/Expected"),
            Column("Health"),
        ],
        [
            [type_.name, row["ID"], _extras(row), counts(type_, row), verdict(type_, row)]
            for type_, row in every
        ],
    )
    if not shown.broken:  # If instances are missing, they were declared and no node has them.
        return plugins
    broken = output.table(
        [
            Column("Type", drop=1),
            Column("ID"),
            Column("Role", drop=2),
            Column("Node"),
            Column("Unhealthy since", whole_words=True),
            Column("Reason"),
        ],
        [
            [
                *(one.type.name, one.plugin_id, one.role, one.node_name),
                output.since(one.fingerprint["UpdateTime"]),
                one.fingerprint["HealthDescription"],
            ]
            for one in shown.broken
        ],
    )
    return Group(plugins, "", broken)


def plugin_tables(shown: OnePlugin) -> RenderableType:
    """Return one plugin: its fields, and a table of its instances."""
    type_, body = shown.type, shown.body
    if body is None:
        return "The plugin is gone."
    core = _CORE_KEYS | {
        f"{plural}{kind}" for plural in type_.plurals.values() for kind in ("Healthy", "Expected")
    }
    known = {"ID": body["ID"], "Type": type_.name}
    known |= {
        key: str(value)
        for key, value in body.items()
        if key not in core and isinstance(value, str | int | float)
    }
    for plural in type_.plurals.values():
        known[plural] = f"{body[f'{plural}Healthy']}/{body[f'{plural}Expected']} healthy"
    processes = output.process_names(body["Allocations"])
    rows = [
        [
            *(one.node_name, one.node_id[:8], one.role, output.health(one.healthy)),
            output.since(one.fingerprint["UpdateTime"]),
            processes.get((one.node_id, one.fingerprint["AllocID"]), ""),
            one.fingerprint["HealthDescription"],
        ]
        for one in shown.instances
    ]
    columns = [
        Column("Node"),
        Column("Node ID", drop=1),
        Column("Role", drop=3),
        Column("Health"),
        Column("Since", whole_words=True),
        Column("Process", drop=2, drop_empty=True),
        Column("Description"),
    ]
    table = output.table(columns, rows) if rows else "No instances."
    return Group(output.pairs(known), "", table)


def counts(type_: PluginTypeInfo, row: Mapping[str, Any]) -> str:
    """Return the healthy and expected counts of each role: ``Nodes 1/3``."""
    counts = (
        f"{plural} {row[f'{plural}Healthy']}/{row[f'{plural}Expected']}"
        for plural in type_.plurals.values()
    )
    return ", ".join(counts)


def verdict(type_: PluginTypeInfo, row: Mapping[str, Any]) -> str:
    """Return "healthy", "degraded" when some instances are healthy, or "unhealthy" when none is."""
    if not is_short(type_, row):
        return "healthy"
    some = any(row[f"{plural}Healthy"] for plural in type_.plurals.values())
    return "degraded" if some else "unhealthy"


def _extras(row: Mapping[str, Any]) -> str:
    """Return the texts of a type's own fields in a row, such as a provider."""
    words = (value for key, value in sorted(row.items()) if key not in _CORE_KEYS)
    return " ".join(value for value in words if isinstance(value, str))
