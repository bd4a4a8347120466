"""``plugind plugin check``: the health of one plugin, for monitoring that calls it.

Exit statuses, and the line with what is for people before a "|" and numbers after it, are those
that Nagios' plugins have (https://www.monitoring-plugins.org/doc/guidelines.html).
"""

from __future__ import annotations

from typing import Any, NoReturn

import click

from plugind.cli import output
from plugind.cli.connection import PluginTypeInfo
from plugind.cli.plugin_tables import counts, instances, node_names, verdict
from plugind.client import Client
from plugind.errors import PlugindError, Refused

UNKNOWN = 3
WORDS_MAXIMUM = 1_000
"""Characters of a reason that are passed on."""

_STATUSES = {"healthy": (0, "OK"), "degraded": (1, "WARNING"), "unhealthy": (2, "CRITICAL")}


class CheckCommand(click.Command):
    """A command whose every failure, a wrong option too, is told as one line and means unknown."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            _give_up(error.format_message())

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.exceptions.Exit:
            raise
        except PlugindError as error:
            _give_up(str(error))
        except Exception as error:  # else Python's own exit status would mean a warning
            _give_up(f"{type(error).__name__}: {error}")


def check_plugin(client: Client, type_: PluginTypeInfo, plugin_id: str) -> int:
    """Prints how a plugin is, in one line; returns the exit status."""
    body = client.plugin(type_.name, plugin_id).value
    status, word = _STATUSES[verdict(type_, body)]
    reason = _first_reason(client, type_, body) if status else ""
    name = f"{type_.name}/{plugin_id}"
    told = ", ".join(filter(None, [f"{counts(type_, body)} healthy", reason]))
    click.echo(f"PLUGIND {word} - {name}: {_line(told)} | {_numbers(type_, body)}")
    return status


def _first_reason(client: Client, type_: PluginTypeInfo, body: dict[str, Any]) -> str:
    broken = [found for found in instances(type_, body) if not found[2]["Healthy"]]
    if not broken:
        return "fewer are known than are expected"
    role, node_id, one = broken[0]
    node = _names(client).get(node_id, node_id)
    since = output.since(one["UpdateTime"])
    more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
    return f"{role} on {node} since {since}: {one['HealthDescription']}{more}"


def _names(client: Client) -> dict[str, str]:
    """The nodes' names, as far as the token may know them."""
    try:
        return node_names(client)
    except Refused:
        return {}


def _numbers(type_: PluginTypeInfo, body: dict[str, Any]) -> str:
    """How many are healthy, by role, of how many: ``nodes=2;;;0;3``."""
    return " ".join(
        f"{plural.lower()}={body[f'{plural}Healthy']};;;0;{body[f'{plural}Expected']}"
        for plural in type_.plurals.values()
    )


def _give_up(reason: str) -> NoReturn:
    click.echo(f"PLUGIND UNKNOWN - {_line(reason)}")
    raise click.exceptions.Exit(UNKNOWN)


def _line(text: str) -> str:
    """In one line, bounded, and without the sign that ends what is for people."""
    words = " ".join(text.replace("|", "/").split())
    return words if len(words) <= WORDS_MAXIMUM else f"{words[: WORDS_MAXIMUM - 1]}…"
