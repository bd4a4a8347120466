"""The command line: ``plugind COMMAND``.

Each command's module is imported when it is called, so that a quick one does not pay for what the
server needs.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any

import click

from plugind import logs
from plugind.errors import ConfigError, PlugindError
from plugind.registry import Packages

_COMMANDS = {
    "acl": "plugind.cli.acl:acl",
    "agent": "plugind.cli.agent:agent",
    "config": "plugind.cli.config:config",
    "node": "plugind.cli.node:node",
    "plugin": "plugind.cli.plugin:plugin",
    "reload": "plugind.cli.reload:reload",
    "store": "plugind.cli.store:store",
    "type": "plugind.cli.type:type_",
    "version": "plugind.cli.version:version",
}


class Commands(click.Group):
    """plugind's own commands and those that packages bring; an error of plugind's is one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*_COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            command: click.Command = resolve_name(_COMMANDS[cmd_name])
            return command
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for mistake in error.mistakes:
                click.echo(str(mistake), err=True)
            raise click.ClickException("the configuration has mistakes") from error
        except PlugindError as error:
            raise click.ClickException(str(error)) from error


def main() -> None:
    """The entry point of the command ``plugind``."""
    logs.configure()  # whatever is logged before a command does so itself
    group = Commands(
        "plugind",
        help="One catalogue of the plugins that run on a fleet of machines: which are healthy, "
        "where, since when and why not.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    Packages().add_commands(group)
    group(prog_name="plugind")
