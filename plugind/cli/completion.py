"""Completion in the shell of the names of installed plugin types."""

from __future__ import annotations

import click

from plugind.types.registry import load_registry


def type_names(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Return the plugin types that begin with a text.

    See https://click.palletsprojects.com/en/stable/shell-completion/.
    """
    return sorted(name for name in load_registry().types if name.startswith(begun))
