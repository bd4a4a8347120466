"""Shell completion of the names of installed plugin types."""

from __future__ import annotations

from pkgutil import resolve_name

import click

_LOAD = "plugind.types.registry:load_registry"
"""Imported only when it is used, because importing packages takes long."""


def type_names(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Return the names of plugin types that begin with the text ``begun``.

    See https://click.palletsprojects.com/en/stable/shell-completion/.
    """
    return sorted(name for name in resolve_name(_LOAD)().types if name.startswith(begun))
