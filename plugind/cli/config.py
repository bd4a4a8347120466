"""``plugind config``: checks configuration before it is used."""

from __future__ import annotations

from pathlib import Path

import click

from plugind.cli.configured import check_acl
from plugind.configured import load_settings


@click.group()
def config() -> None:
    """Check configuration."""


@config.command()
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
def validate(paths: tuple[Path, ...]) -> None:
    """Check files and folders, together, as 'plugind agent --config' reads them.

    With ACLs on so are their policies and tokens. All mistakes are told, each with its file, line
    and column; the exit status is 1 then. Variables (PLUGIND_*) count as they would there.
    """
    check_acl(*load_settings(paths, {}, None))
    click.echo("The configuration is valid.")
