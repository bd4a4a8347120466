"""``plugind config``: validate a configuration before it is used, and show its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from plugind.acl import acl_of
from plugind.cli import output, terminal
from plugind.cli.checking import check
from plugind.cli.commands import Group
from plugind.cli.configured import configuration_options, dev_folder
from plugind.config.effective import as_json, as_text, effective
from plugind.config.settings import Settings
from plugind.config.tree import raise_any
from plugind.errors import ConfigError, Mistake
from plugind.types.configured import load_settings
from plugind.types.registry import BROKEN, Registry

F = TypeVar("F", bound=Callable[..., Any])


def _whole_configuration(command: F) -> F:
    """Give a command the options of 'plugind agent', and files as arguments without ``--config``.

    The command gets ``settings``, the ``registry`` that they were loaded with, and ``dev``.
    """

    @wraps(command)
    def with_settings(
        files: tuple[Path, ...],
        paths: tuple[Path, ...],
        flags: Mapping[str, str],
        dev: bool,
        **given: Any,
    ) -> Any:
        with dev_folder() if dev else nullcontext() as folder:
            settings, registry = load_settings((*files, *paths), flags, folder)
            return command(settings=settings, registry=registry, dev=dev, **given)

    click.option("--dev", is_flag=True, help="As with 'plugind agent --dev'.")(with_settings)
    named = click.Path(path_type=Path)
    click.argument("files", nargs=-1, type=named, metavar="[PATH]...")(with_settings)
    return configuration_options(with_settings)  # type: ignore[return-value]


@click.group(cls=Group)
def config() -> None:
    """Validate and show configuration."""


@config.command()
@_whole_configuration
def validate(settings: Settings, registry: Registry, dev: bool) -> None:
    """Check files and folders, together, as 'plugind agent --config' reads them.

    Everything that would make a start fail is a mistake: also a missing file, or an address that
    this machine does not have. With ACLs on policies and tokens are read as well. All mistakes are
    printed, each with its file, line and column; the exit status is 1 then. Variables (PLUGIND_*)
    and the options below count as they would there. Run it as the user that plugind runs as.
    """
    found = check(settings)
    mistakes = list(found.mistakes)
    rights: tuple[Mistake, ...] = ()
    try:
        rights = acl_of(settings.acl, registry.installed.values()).warnings
    except ConfigError as error:
        mistakes += error.mistakes
    broken = [
        Mistake(f'plugin type "{one.name}"', 0, 0, str(one))
        for one in registry.unused
        if one.status == BROKEN
    ]
    for warning in (*found.warnings, *(() if dev else found.in_use), *rights, *broken):
        terminal.echo(f"Warning: {warning}", err=True)
    raise_any(mistakes)
    terminal.echo("The configuration is valid.")


@config.command()
@_whole_configuration
@click.option("--json", "as_json_", is_flag=True, help="Print JSON, for programs.")
def show(settings: Settings, registry: Registry, dev: bool, as_json_: bool) -> None:
    """Print every setting with its value and the place that it comes from.

    That is a file with line and column, a variable, an option, or the default. A value that a later
    file overrides follows after "over". Secrets are masked.
    """
    found = effective(settings)
    if as_json_:
        output.print_json(as_json(found))
    else:
        terminal.echo(as_text(found), nl=False)
