"""Completion in the shell of the names of installed plugin types."""

from __future__ import annotations

from pkgutil import resolve_name

import click

_LOAD = "plugind.types.registry:load_registry"
"""Imported when it is used: packages take long."""


def type_names(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Return the plugin types that begin with a text.

    See https://click.palletsprojects.com/en/stable/shell-completion/.
    """
    return sorted(name for name in resolve_name(_LOAD)().types if name.startswith(begun))
