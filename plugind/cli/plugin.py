"""``plugind plugin``: show plugins and their unhealthy instances: where, since when and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from rich.console import RenderableType

from plugind.cli import history, output, terminal
from plugind.cli.commands import Group, examples
from plugind.cli.completion import type_names
from plugind.cli.connection import connected, plugin_types
from plugind.cli.finding import chosen_types, find_plugin
from plugind.cli.following import WAIT, Look, Show, list_look, watch
from plugind.cli.overview import Selection, is_short, one_plugin, overview, plugin_body
from plugind.cli.plugin_check import CheckCommand, check_plugin
from plugind.cli.plugin_tables import list_tables, plugin_tables
from plugind.client import Client

T = TypeVar("T")

_TYPE = click.option(
    "--type",
    "only",
    metavar="TYPE",
    shell_complete=type_names,
    help="Only plugins of this type.",
)


@click.group(cls=Group)
def plugin() -> None:
    """Show plugins and their health, and forget those that are gone for good."""


@plugin.command(
    epilog=examples(
        "plugind plugin status                         all plugins",
        "plugind plugin status --unhealthy --node vm1  unhealthy instances on one node",
        "plugind plugin status ebs0                    one plugin, with all its instances",
        "plugind plugin status --watch                 all plugins, until Ctrl-C",
    )
)
@click.argument("id", required=False, metavar="[[TYPE/]ID]")
@_TYPE
@click.option("--unhealthy", is_flag=True, help="Only unhealthy instances.")
@click.option(
    "--node",
    metavar="NAME|ID",
    help="Only plugins on this node; the first characters of its ID are enough.",
)
@click.option("--datacenter", metavar="DC", help="Only plugins on nodes of this datacenter.")
@click.option(
    "--watch", "watching", is_flag=True, help="Go on, and show every change, until Ctrl-C."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@connected
def status(
    client: Client,
    id: str | None,
    only: str | None,
    unhealthy: bool,
    node: str | None,
    datacenter: str | None,
    watching: bool,
    as_json: bool,
) -> None:
    """Show all plugins, or one with its instances.

    Each unhealthy instance is shown with its node, since when and why. Counts are those of the
    whole fleet, also where only some nodes are selected.

    With --json a list is an object with the rows of each plugin type, by the type's name, and one
    plugin is the server's answer; with --watch each change is one line.
    """
    types = plugin_types(client)
    if id is None:
        types = chosen_types(types, only)
        selection = Selection.of(client, node, datacenter, unhealthy)
        _run(
            client,
            {type_.name: list_look(type_.name) for type_ in types},
            lambda values: overview(client, types, values, selection),
            _shower(list_tables, lambda shown: shown.rows, watching, as_json),
            watching,
        )
        return
    type_, plugin_id = find_plugin(client, types, id, only)
    named = type_.name, plugin_id
    selection = Selection.of(client, node, datacenter, unhealthy)
    _run(
        client,
        {type_.name: lambda client, index: client.plugin(*named, index=index, wait=WAIT)},
        lambda values: one_plugin(client, type_, values[type_.name], selection),
        _shower(plugin_tables, lambda shown: shown.body, watching, as_json),
        watching,
    )


@plugin.command(
    "history",
    epilog=examples(
        "plugind plugin history ebs0              what happened to it, newest first",
        "plugind plugin history ebs0 --since 24h  in the last 24 hours",
        "plugind plugin history ebs0 --watch      what happens from now on, until Ctrl-C",
    ),
)
@click.argument("id", metavar="[TYPE/]ID")
@_TYPE
@history.SINCE
@history.WATCH
@history.AS_JSON
@connected
def history_(
    client: Client, id: str, only: str | None, since: str, watching: bool, as_json: bool
) -> None:
    """Show what happened to a plugin's instances: where, when and why, newest first.

    Above it is how much of the time the expected instances were healthy, and how much of it at
    least one was. A plugin that is gone keeps its history: give its TYPE/ID.
    """
    if "/" in id:
        type_name, _, plugin_id = id.partition("/")
    else:
        type_, plugin_id = find_plugin(client, plugin_types(client), id, only)
        type_name = type_.name
    named = type_name, plugin_id
    history.show(
        client,
        lambda client, index: client.plugin_history(*named, since=since, index=index, wait=WAIT),
        lambda: client.plugin_availability(*named).value,
        watching=watching,
        as_json=as_json,
    )


@plugin.command(epilog=examples("plugind plugin forget ebs0"))
@click.argument("id", metavar="[TYPE/]ID")
@_TYPE
@connected
def forget(client: Client, id: str, only: str | None) -> None:
    """Forget the instances of a plugin that are not healthy.

    Use it for instances that are gone for good: they would be shown until server.gc_threshold is
    over. A forgotten instance comes back once it is healthy; until then unhealthy reports of it are
    ignored, unless the configuration of the server or of its agent names it.
    """
    type_, plugin_id = find_plugin(client, plugin_types(client), id, only)
    client.forget_plugin(type_.name, plugin_id)
    terminal.echo(f"Forgot the unhealthy instances of {type_.name}/{plugin_id}.")
    left = plugin_body(client, type_, plugin_id)
    if left and is_short(type_, left):
        terminal.echo(
            "It stays listed as unhealthy: the configuration of the server or of an agent names it."
        )


@plugin.command(cls=CheckCommand, epilog=examples("plugind plugin check ebs0"))
@click.argument("id", metavar="[TYPE/]ID")
@connected
def check(client: Client, id: str) -> None:
    """Print the health of a plugin in one line, for monitoring that runs Nagios' plugins.

    The exit status is 0 when as many instances are healthy as are expected, 1 when only some are, 2
    when none is, and 3 when that is unknown: the plugin does not exist, or no server answers.
    """
    # Monitoring runs this often, and suggestions would make the server list all plugins.
    type_, plugin_id = find_plugin(client, plugin_types(client), id, suggest=False)
    raise click.exceptions.Exit(check_plugin(client, type_, plugin_id))


def _run(
    client: Client,
    looks: Mapping[str, Look],
    gather: Callable[[Mapping[str, Any]], T],
    show: Show[T],
    watching: bool,
) -> None:
    if watching:
        watch(client, looks, gather, show)
    show(gather({name: look(client, 0).value for name, look in looks.items()}), "", True)


def _shower(
    render: Callable[[T], RenderableType],
    as_value: Callable[[T], Any],
    watching: bool,
    as_json: bool,
) -> Show[T]:
    """Return the function that prints: with ``render`` for people, with ``as_value`` for programs.

    With ``watching``, a terminal is cleared and shows everything each time. Elsewhere only changes
    are printed, and a server that cannot be reached is reported once, on standard error.
    """
    console, said = output.console(), [""]

    def show(picture: T, away: str, is_new: bool) -> None:
        if watching and console.is_terminal and not as_json:
            console.clear()
            console.print(render(picture))
            if away:
                terminal.echo(f"\n{away}")
            return
        if away != said[0]:
            said[0] = away
            if away:
                terminal.echo(away, err=True)
        if not is_new:
            return
        if as_json:
            output.print_json(as_value(picture), one_line=watching)
        else:
            console.print(render(picture), end="\n\n" if watching else "\n")

    return show
