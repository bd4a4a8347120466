"""``plugind node``: show the machines with an agent, and the plugins on each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click
from rich.console import Group as Lines

from plugind.cli import history, output
from plugind.cli.commands import Group, examples
from plugind.cli.connection import PluginTypeInfo, connected, plugin_types
from plugind.cli.finding import find_node
from plugind.cli.following import WAIT
from plugind.cli.node_forget import Choice, age, forget_many, forget_one, nodes_table
from plugind.cli.output import Column
from plugind.client import Client
from plugind.wire.texts import is_node_id

_SHOWN = ("ID", "Name", "Datacenter", "Address", "Version", "Status", "StatusDescription")


@click.group(cls=Group)
def node() -> None:
    """Show nodes, and forget those that are gone for good."""


@node.command(
    epilog=examples(
        "plugind node status      all nodes",
        "plugind node status vm1  one node, with the plugins that run there",
    )
)
@click.argument("id", required=False, metavar="[NAME|ID]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@connected
def status(client: Client, id: str | None, as_json: bool) -> None:
    """Show all nodes, or one with its instances.

    The first characters of an ID are enough.
    """
    stubs = client.nodes().value
    if id is not None:
        _show_one(client, find_node(stubs, id), as_json)
    elif as_json:
        output.print_json(stubs)
    else:
        output.console().print(nodes_table(stubs) if stubs else "No nodes.")


@node.command(
    "history",
    epilog=examples(
        "plugind node history vm1              what happened to it and on it, newest first",
        "plugind node history vm1 --since 24h  in the last 24 hours",
        "plugind node history vm1 --watch      what happens from now on, until Ctrl-C",
    ),
)
@click.argument("id", metavar="NAME|ID")
@history.SINCE
@history.WATCH
@history.AS_JSON
@connected
def history_(client: Client, id: str, since: str, watching: bool, as_json: bool) -> None:
    """Show what happened to a node and to the plugins on it, newest first.

    Above it is how much of the time its instances were healthy, and how much of it at least one
    was. The first characters of an ID are enough. A node that is gone keeps its history: give its
    ID.
    """
    node_id = id if is_node_id(id) else find_node(client.nodes().value, id)
    history.show(
        client,
        lambda client, index: client.node_history(node_id, since=since, index=index, wait=WAIT),
        lambda: client.node_availability(node_id).value,
        watching=watching,
        as_json=as_json,
    )


@node.command(
    epilog=examples(
        "plugind node forget vm1                                one node",
        "plugind node forget --down --older-than 7d --dry-run   print what would be forgotten",
        "plugind node forget --down --datacenter dc2 --yes      ask nothing",
    )
)
@click.argument("id", required=False, metavar="[NAME|ID]")
@click.option("--down", is_flag=True, help="Forget the nodes that are down.")
@click.option(
    "--older-than",
    type=age,
    metavar="DURATION",
    help="With --down: only those down for at least this long, such as 7d.",
)
@click.option("--datacenter", metavar="NAME", help="Forget the nodes of this datacenter.")
@click.option("--dry-run", is_flag=True, help="Print what would be forgotten, and forget nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@connected
def forget(
    client: Client,
    id: str | None,
    down: bool,
    older_than: float | None,
    datacenter: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Forget a node, or many, and all that they reported.

    The first characters of an ID are enough, four at least. An agent that still runs on a node
    brings it back, with a new secret if the old one was lost. The whole ID of a node that was
    removed before lets another agent use it.
    """
    if older_than is not None and not down:
        raise click.UsageError("--older-than needs --down: it counts from when a node went down")
    if id is not None and (down or datacenter is not None):
        raise click.UsageError("give either the name or ID of a node, or --down or --datacenter")
    if id is None and not down and datacenter is None:
        raise click.UsageError("say which nodes: NAME or ID, --down or --datacenter")
    if id is not None:
        forget_one(client, id, dry_run=dry_run)
    else:
        forget_many(client, Choice(down, older_than, datacenter), dry_run=dry_run, ask=not yes)


def _show_one(client: Client, node_id: str, as_json: bool) -> None:
    body = client.node(node_id).value
    if as_json:
        output.print_json(body)
        return
    known = {key: str(body[key]) for key in _SHOWN if body[key]}
    processes = output.process_names(client.allocations(node_id).value)
    columns = [
        *(Column("Type", drop=1), Column("ID"), Column("Role", drop=3), Column("Health")),
        *(Column("Since", whole_words=True), Column("Process", drop=2, drop_empty=True)),
        Column("Description"),
    ]
    rows = list(_instances(plugin_types(client), body, processes))
    what = output.table(columns, rows) if rows else "No plugins."
    output.console().print(Lines(output.pairs(known), "", what))


def _instances(
    types: list[PluginTypeInfo], body: dict[str, Any], processes: Mapping[tuple[str, str], str]
) -> Iterator[list[str]]:
    for type_ in types:
        for role, key in type_.node_keys.items():
            for plugin_id, one in body.get(key, {}).items():
                yield [
                    *(type_.name, plugin_id, role, output.health(one["Healthy"])),
                    output.since(one["UpdateTime"]),
                    processes.get((body["ID"], one["AllocID"]), ""),
                    one["HealthDescription"],
                ]
