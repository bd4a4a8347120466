"""``plugind version``."""

from __future__ import annotations

import json
import platform

import click

from plugind import __version__


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def version(as_json: bool) -> None:
    """Print the version."""
    found = {"plugind": __version__, "python": platform.python_version()}
    if as_json:
        click.echo(json.dumps(found, sort_keys=True))
    else:
        click.echo(f"plugind {found['plugind']} (Python {found['python']})")
