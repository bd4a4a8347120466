"""What the shell completes beside commands and options: the names of installed plugin types."""

from __future__ import annotations

import click

from plugind.registry import load_registry


def type_names(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The names that begin so (https://click.palletsprojects.com/en/stable/shell-completion/)."""
    return sorted(name for name in load_registry().types if name.startswith(begun))
