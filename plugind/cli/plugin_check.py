"""``plugind plugin check``: print the health of one plugin for monitoring systems.

The exit statuses and the output line, with text for people before a "|" and numbers after it, are
those of Nagios plugins (https://www.monitoring-plugins.org/doc/guidelines.html).
"""

from __future__ import annotations

from typing import Any, NoReturn

import click

from plugind import printable
from plugind.cli import output, terminal
from plugind.cli.commands import Command
from plugind.cli.connection import PluginTypeInfo
from plugind.cli.overview import instances, node_stubs
from plugind.cli.plugin_tables import counts, verdict
from plugind.client import Client
from plugind.errors import PlugindError

UNKNOWN = 3
WORDS_MAXIMUM = 1_000
"""Characters of the text for people."""

_STATUSES = {"healthy": (0, "OK"), "degraded": (1, "WARNING"), "unhealthy": (2, "CRITICAL")}


class CheckCommand(Command):
    """A command that prints every failure, even a wrong option, as one line that means unknown."""

    def say(self, reason: str) -> None:
        """Print why the health is unknown."""
        terminal.echo(f"PLUGIND UNKNOWN - {reason}")

    def _give_up(self, reason: str) -> NoReturn:
        self.say(_line(reason))
        raise click.exceptions.Exit(UNKNOWN)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            self._give_up(error.format_message())

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (
            click.exceptions.Exit,
            BrokenPipeError,
        ):  # click handles these, the second when the output's reader has gone
            raise
        except PlugindError as error:
            self._give_up(str(error))
        except Exception as error:  # Python's own exit status, 1, would mean a warning.
            self._give_up(f"{type(error).__name__}: {error}")


def check_plugin(client: Client, type_: PluginTypeInfo, plugin_id: str) -> int:
    """Print the health of a plugin on one line; return the exit status."""
    body = client.plugin(type_.name, plugin_id).value
    status, word = _STATUSES[verdict(type_, body)]
    reason = _first_reason(client, type_, body) if status else ""
    name = f"{type_.name}/{plugin_id}"
    words = ", ".join(filter(None, [f"{counts(type_, body)} healthy", reason]))
    numbers = " ".join(
        f"{plural.lower()}={body[f'{plural}Healthy']};;;0;{body[f'{plural}Expected']}"
        for plural in type_.plurals.values()
    )
    terminal.echo(f"PLUGIND {word} - {name}: {_line(words)} | {numbers}")
    return status


def _first_reason(client: Client, type_: PluginTypeInfo, body: dict[str, Any]) -> str:
    broken = [one for one in instances(type_, body, node_stubs(client)) if not one.healthy]
    if not broken:
        return "fewer instances are known than are expected"
    first = broken[0]
    since = output.since(first.fingerprint["UpdateTime"])
    more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
    reason = first.fingerprint["HealthDescription"]
    return f"{first.role} on {first.node_name} since {since}: {reason}{more}"


def _line(text: str) -> str:
    """Return a text as one line of limited length, without "|", which ends the text for people."""
    words = printable.one_line(text.replace("|", "/"))
    return words if len(words) <= WORDS_MAXIMUM else f"{words[: WORDS_MAXIMUM - 1]}…"
