"""``plugind version``."""

from __future__ import annotations

import json
import platform

import click

from plugind import __version__
from plugind.cli import terminal
from plugind.cli.commands import Command


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def version(as_json: bool) -> None:
    """Print the version of plugind, and of the Python that runs it."""
    if as_json:
        found = {"plugind": __version__, "python": platform.python_version()}
        terminal.echo(json.dumps(found, sort_keys=True))
    else:
        terminal.echo(version_line())


def version_line() -> str:
    """Return both versions on one line."""
    return f"plugind {__version__} (Python {platform.python_version()})"
