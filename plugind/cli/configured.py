"""The options of every command that reads the configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import click

from plugind.acl import acl_of
from plugind.cli import terminal
from plugind.cli.commands import Setting
from plugind.config.overrides import setting_rows
from plugind.config.settings import Settings
from plugind.errors import PlugindError
from plugind.types.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])


def configuration_options(command: F) -> F:
    """Give a command ``--config`` and an option for each setting.

    They become the command's arguments ``paths`` and ``flags``, a dict of texts by ``Row.flag``.
    """
    rows = setting_rows()
    flags = {row.flag.replace("-", "_"): row.flag for row in rows}

    @wraps(command)
    def with_flags(**given: Any) -> Any:
        texts = {flag: given.pop(name) for name, flag in flags.items()}
        set_ = {flag: text for flag, text in texts.items() if text is not None}
        return command(flags=set_, **given)

    for row in reversed(rows):
        names = [f"--{name}" for name in (row.short, row.flag) if name]
        argument = row.flag.replace("-", "_")
        click.option(*names, argument, metavar=row.type.upper(), help=row.help, cls=Setting)(
            with_flags
        )
    click.option(
        "--config",
        "paths",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="A file, or a folder with files *.hcl and *.json; may be repeated, and of two values "
        "for one setting the later one counts.",
    )(with_flags)
    return with_flags  # type: ignore[return-value]


@contextmanager
def dev_folder() -> Iterator[Path]:
    """Create a temporary folder for ``--dev``, and remove it at the end.

    Raise PlugindError when it cannot be created.
    """
    try:
        folder = TemporaryDirectory(prefix="plugind-dev-", ignore_cleanup_errors=True)
    except OSError as error:
        text = "--dev needs a folder for temporary files: name one that can be written in TMPDIR"
        raise PlugindError(text) from error
    with folder as path:
        yield Path(path)


def check_acl(settings: Settings, registry: Registry) -> None:
    """Read policies and tokens as a server would, and print warnings about them.

    Raise ConfigError for mistakes.
    """
    for warning in acl_of(settings.acl, registry.installed.values()).warnings:
        terminal.echo(f"Warning: {warning}", err=True)
