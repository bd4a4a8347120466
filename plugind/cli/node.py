"""``plugind node``: the machines with an agent, and what each runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click
from rich.console import Group

from plugind.cli import output
from plugind.cli.connection import PluginTypeInfo, connected, plugin_types
from plugind.client import Client
from plugind.errors import ClientError

_SHORTEST_TO_FORGET = 4  # characters of an ID
_SHOWN = ("ID", "Name", "Datacenter", "Address", "Version", "Status", "StatusDescription")


@click.group()
def node() -> None:
    """Look at nodes, and forget those that are gone for good."""


@node.command()
@click.argument("id", required=False, metavar="[ID]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@connected
def status(client: Client, id: str | None, as_json: bool) -> None:
    """Show all nodes, or one with its instances. The first characters of an ID, or the node's
    name, are enough."""
    if id:
        body = client.node(_find(client, id)).value
        if as_json:
            output.print_json(body)
            return
        known = {key: str(body[key]) for key in _SHOWN if body[key]}
        processes = output.process_names(client.allocations(body["ID"]).value)
        known_of = ["Process"] if processes else []
        header = ["Type", "ID", "Role", "Health", "Since", *known_of, "Description"]
        rows = list(_instances(plugin_types(client), body, processes))
        what = output.table(header, rows) if rows else "No plugins."
        output.console().print(Group(output.pairs(known), "", what))
        return
    stubs = client.nodes().value
    if as_json:
        output.print_json(stubs)
        return
    header = ["ID", "Name", "Datacenter", "Version", "Status", "Description"]
    rows = [
        [
            stub["ID"][:8],
            stub["Name"],
            stub["Datacenter"],
            stub["Version"],
            stub["Status"],
            stub["StatusDescription"],
        ]
        for stub in stubs
    ]
    output.console().print(output.table(header, rows) if rows else "No nodes.")


@node.command()
@click.argument("id", metavar="ID")
@connected
def forget(client: Client, id: str) -> None:
    """Forget a node and all that it reported; an agent that still runs there brings it back.

    The first characters of its ID, four at least, or the node's name are enough.
    """
    node_id = _find(client, id, shortest=_SHORTEST_TO_FORGET)
    client.forget_node(node_id)
    click.echo(f"Forgot node {node_id}.")


def _find(client: Client, wanted: str, shortest: int = 1) -> str:
    """The ID of the one node that is meant, by its name or the start of its ID, of ``shortest``
    characters at least. Raises ClientError."""
    stubs = client.nodes().value
    is_prefix = len(wanted) >= shortest
    found = [stub["ID"] for stub in stubs if is_prefix and stub["ID"].startswith(wanted)]
    found = found or [stub["ID"] for stub in stubs if stub["Name"] == wanted]
    if not found:
        raise ClientError(f"no node {wanted!r}; 'plugind node status' lists those there are")
    if len(found) > 1:
        raise ClientError(f"{wanted!r} may be {' or '.join(found)}: say which")
    return str(found[0])


def _instances(
    types: list[PluginTypeInfo], body: dict[str, Any], processes: Mapping[tuple[str, str], str]
) -> Iterator[list[str]]:
    for type_ in types:
        for role, key in type_.node_keys.items():
            for plugin_id, one in body.get(key, {}).items():
                process = processes.get((body["ID"], one["AllocID"]), "")
                yield [
                    *(type_.name, plugin_id, role, output.health(one["Healthy"])),
                    output.since(one["UpdateTime"]),
                    *([process] if processes else []),
                    one["HealthDescription"],
                ]
