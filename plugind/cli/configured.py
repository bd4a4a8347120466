"""The options of every command that reads the configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from plugind.acl import acl_of
from plugind.config import Settings, setting_rows
from plugind.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])


def configuration_options(command: F) -> F:
    """Gives a command ``--config`` and an option for each setting, as the arguments ``paths`` and
    ``flags``: a name of ``Row.flag`` and the text given for it."""
    rows = setting_rows()
    flags = {row.flag.replace("-", "_"): row.flag for row in rows}

    def with_flags(**given: Any) -> Any:
        texts = {flag: given.pop(name) for name, flag in flags.items()}
        set_ = {flag: text for flag, text in texts.items() if text is not None}
        return command(flags=set_, **given)

    with_flags.__name__ = command.__name__
    with_flags.__doc__ = command.__doc__
    with_flags.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for row in reversed(rows):
        click.option(f"--{row.flag}", metavar=row.type.upper(), help=row.help)(with_flags)
    click.option(
        "--config",
        "paths",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="A file, or a folder of *.hcl and *.json; may be repeated, a later one wins.",
    )(with_flags)
    return with_flags  # type: ignore[return-value]


def check_acl(settings: Settings, registry: Registry) -> None:
    """Reads policies and tokens as a server would, and warns of what grants nothing. Raises
    ConfigError."""
    for warning in acl_of(settings.acl, registry.installed.values()).warnings:
        click.echo(f"Warning: {warning}", err=True)
