"""The command line: ``plugind COMMAND``.

Each command's module is imported only when the command is called, so quick commands do not import
the server.
"""

from __future__ import annotations

import sys
from pkgutil import resolve_name
from typing import Any

import click

import plugind.without_rich  # noqa: F401 - before structlog is imported
from plugind import __version__, logs
from plugind.cli import terminal
from plugind.cli.commands import Group, examples
from plugind.cli.version import version_line
from plugind.errors import ConfigError, PlugindError

_COMMANDS = {
    "acl": "plugind.cli.acl:acl",
    "agent": "plugind.cli.agent:agent",
    "config": "plugind.cli.config:config",
    "history": "plugind.cli.history:history",
    "node": "plugind.cli.node:node",
    "plugin": "plugind.cli.plugin:plugin",
    "reload": "plugind.cli.reload:reload",
    "status": "plugind.cli.status:status",
    "store": "plugind.cli.store:store",
    "type": "plugind.cli.type:type_",
    "version": "plugind.cli.version:version",
}


_PACKAGES = "plugind.types.registry:Packages"

_INTERRUPTED = 130
"""The exit status after Ctrl-C, as in shells: 128 plus the number of SIGINT."""


class Commands(Group):
    """plugind's own commands and those of packages; plugind's errors are printed on one line.

    Packages are imported to run a command that is not plugind's own, or to list all commands.
    """

    _has_packages = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._add_packages()
        return sorted({*_COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            command: click.Command = resolve_name(_COMMANDS[cmd_name])
            return command
        self._add_packages()
        return super().get_command(ctx, cmd_name)

    def _add_packages(self) -> None:
        if not self._has_packages:
            self._has_packages = True
            resolve_name(_PACKAGES)().add_commands(self)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise click.exceptions.Exit(_INTERRUPTED) from interrupt
        except ConfigError as error:
            for mistake in error.mistakes:
                terminal.echo(str(mistake), err=True)
            raise click.ClickException("the configuration has mistakes") from error
        except PlugindError as error:
            raise terminal.make_safe(click.ClickException(str(error))) from error
        except click.ClickException as error:
            raise terminal.make_safe(error) from None


def main() -> None:
    """Run the command ``plugind``; this is its entry point."""
    terminal.tolerate_encodings()
    logs.configure()  # Packages may log before a command configures logging itself.
    try:
        group = command_line()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    group(prog_name="plugind")


def command_line() -> Commands:
    """Return the command ``plugind`` with the commands of all installed packages."""
    group = Commands(
        "plugind",
        help="Keep a catalogue of the plugins that run on a fleet of machines, and show which are "
        "healthy, where, since when and why not.",
        epilog=examples(
            "plugind agent --dev                 a server and an agent, to try things out",
            "plugind status                      all that is wrong now, and the last hour",
            "plugind plugin status               unhealthy plugins: where, since when and why",
            "plugind plugin status --watch ebs0  one plugin, shown again at every change",
        ),
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    click.version_option(__version__, message=version_line())(group)
    return group
