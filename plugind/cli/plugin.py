"""``plugind plugin``: which plugins there are, which are not healthy, where, since when and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from rich.console import RenderableType

from plugind.cli import output
from plugind.cli.completion import type_names
from plugind.cli.connection import PluginTypeInfo, connected, plugin_types
from plugind.cli.following import Look, follow
from plugind.cli.plugin_check import CheckCommand, check_plugin
from plugind.cli.plugin_tables import list_tables, node_names, plugin_tables
from plugind.client import Client
from plugind.errors import ClientError, Refused


@click.group()
def plugin() -> None:
    """Look at plugins, and forget what is gone for good."""


@plugin.command()
@click.argument("id", required=False, metavar="[[TYPE/]ID]")
@click.option(
    "--type",
    "only",
    metavar="TYPE",
    shell_complete=type_names,
    help="Only plugins of this type.",
)
@click.option("--watch", is_flag=True, help="Go on, and print again at every change.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@connected
def status(client: Client, id: str | None, only: str | None, watch: bool, as_json: bool) -> None:
    """Show all plugins, or one with its instances.

    What is not healthy is shown with its node, since when and why.
    """
    types = _chosen(plugin_types(client), only)
    plugin_id = None
    if id:
        type_, plugin_id = _find(client, types, id)
        types = [type_]
    for answers in _answers(client, _looks(types, plugin_id), watch):
        if as_json:
            what = answers if plugin_id is None else answers[types[0].name]
            output.print_json(what, one_line=watch)
        elif plugin_id is None:
            _show(watch, list_tables(client, types, answers))
        elif (body := answers[types[0].name]) is None:
            _show(watch, "The plugin is gone.")
        else:
            _show(watch, plugin_tables(types[0], body, node_names(client)))


@plugin.command()
@click.argument("id", metavar="[TYPE/]ID")
@click.option(
    "--type", "only", metavar="TYPE", shell_complete=type_names, help="The plugin's type."
)
@connected
def forget(client: Client, id: str, only: str | None) -> None:
    """Forget what is not healthy of a plugin.

    For what is gone for good; what an agent still reports comes back.
    """
    type_, plugin_id = _find(client, _chosen(plugin_types(client), only), id)
    client.forget_plugin(type_.name, plugin_id)
    click.echo(f"Forgot what was not healthy of {type_.name}/{plugin_id}.")


@plugin.command(cls=CheckCommand)
@click.argument("id", metavar="[TYPE/]ID")
@connected
def check(client: Client, id: str) -> None:
    """Say in one line how a plugin is, as Nagios' plugins do.

    Exits with 0 when as many are healthy as are expected, 1 when only some are, 2 when none is, and
    3 when that cannot be told: there is no such plugin, or no server.
    """
    type_, plugin_id = _find(client, plugin_types(client), id)
    raise click.exceptions.Exit(check_plugin(client, type_, plugin_id))


def _chosen(types: list[PluginTypeInfo], only: str | None) -> list[PluginTypeInfo]:
    found = [type_ for type_ in types if only in (None, type_.name)]
    if not found:
        there = ", ".join(type_.name for type_ in types) or "none"
        raise ClientError(f"no plugin type {only!r} on the server; there are: {there}")
    return found


def _find(client: Client, types: list[PluginTypeInfo], name: str) -> tuple[PluginTypeInfo, str]:
    """The type and ID of the plugin that is meant by ``[TYPE/]ID``. Raises ClientError."""
    prefix, slash, plugin_id = name.rpartition("/")
    among = _chosen(types, prefix) if slash else types
    found = [type_ for type_ in among if _exists(client, type_.name, plugin_id)]
    if not found:
        raise ClientError(f"no plugin {name!r}; 'plugind plugin status' lists those there are")
    if len(found) > 1:
        several = " or ".join(f"{type_.name}/{plugin_id}" for type_ in found)
        raise ClientError(f"which one is meant: {several}?")
    return found[0], plugin_id


def _exists(client: Client, type_: str, plugin_id: str) -> bool:
    try:
        client.plugin(type_, plugin_id)
    except Refused as error:
        if error.status != 404:
            raise
        return False
    return True


def _answers(client: Client, looks: dict[str, Look], watch: bool) -> Iterator[dict[str, Any]]:
    if watch:
        yield from follow(client, looks)
    else:
        yield {name: look(client, 0).value for name, look in looks.items()}


def _looks(types: list[PluginTypeInfo], plugin_id: str | None) -> dict[str, Look]:
    """By type, how to read its list or its one plugin."""

    def look_of(type_: str) -> Look:
        if plugin_id is None:
            return lambda client, index: client.plugins(type_, index=index)
        return lambda client, index: client.plugin(type_, plugin_id, index=index)

    return {type_.name: look_of(type_.name) for type_ in types}


def _show(watch: bool, what: RenderableType) -> None:
    console = output.console()
    if watch and console.is_terminal:
        console.clear()
    console.print(what)
    if watch and not console.is_terminal:
        console.print()
