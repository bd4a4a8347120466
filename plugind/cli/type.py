"""``plugind type``: which plugin types are installed here, and whether they are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from plugind.cli import output
from plugind.configured import load_settings
from plugind.registry import ACTIVE, Standing


@click.group("type")
def type_() -> None:
    """Look at the plugin types that are installed on this machine."""


configured = click.option(
    "--config",
    "paths",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The configuration, as for 'plugind agent'.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@type_.command("list")
@configured
@click.option("--all", "all_", is_flag=True, help="Also what is disabled or broken, and why.")
@as_json
def list_(paths: tuple[Path, ...], all_: bool, as_json: bool) -> None:
    """List plugin types, and the distributions that bring them.

    What cannot be used is broken: a package that fails, that was made for another version of
    plugind, or that brings a type whose name another one has too.
    """
    _, registry = load_settings(paths, {}, None)
    standings = [one for one in registry.standings() if all_ or one.status == ACTIVE]
    if as_json:
        output.print_json([_row(one) for one in standings])
        return
    header = ["Name", "Title", "Version", "Distribution", *(["Status", "Reason"] if all_ else [])]
    rows = ([str(cell) for cell in _row(one).values()][: len(header)] for one in standings)
    output.console().print(output.table(header, rows))


def _row(standing: Standing) -> dict[str, Any]:
    return {
        "Name": standing.name,
        "Title": standing.title,
        "Version": standing.origin.version,
        "Distribution": standing.origin.distribution,
        "Status": standing.status,
        "Reason": standing.reason,
    }
