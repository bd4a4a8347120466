"""The table of history: what became of instances and nodes, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click
from rich.console import RenderableType

from plugind.cli import output
from plugind.cli.output import Column
from plugind.model.times import SECOND, format_duration

SINCE = click.option(
    "--since", default="", metavar="DURATION|TIME", help="Only what happened since then, as 24h."
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

_COLUMNS = (
    Column("Time", whole_words=True),
    Column("Event"),
    Column("Type", drop=2, drop_empty=True),
    Column("ID", drop_empty=True),
    Column("Role", drop=3, drop_empty=True),
    Column("Node", drop_empty=True),
    Column("Since", drop=1, whole_words=True, drop_empty=True),
    Column("Details"),
)


def show(rows: Iterable[Mapping[str, Any]], as_json: bool) -> None:
    """Print the rows of an answer with history."""
    if as_json:
        output.print_json(rows)
        return
    table = history_table(rows)
    output.console().print(table or "Nothing happened, as far as the history goes back.")


def history_table(rows: Iterable[Mapping[str, Any]]) -> RenderableType | None:
    """Return a table of transitions; None where there are none."""
    cells = []
    for row in rows:
        time, since = output.since(row["Time"]), output.since(row["Since"])
        names = row["Type"], row["ID"], row["Role"], row["NodeName"]
        cells.append([time, row["Event"], *names, "" if since == time else since, _details(row)])
    return output.table(_COLUMNS, cells) if cells else None


def _details(row: Mapping[str, Any]) -> str:
    """Return what changed, and why, in a few words."""
    if row["Event"] == "flapping":
        healthy = format_duration(row["HealthySeconds"] * SECOND)
        return f"{row['Count']} changes, healthy for {healthy} in all: {row['Reason']}"
    if row["Event"] in ("version", "expected"):
        return f"{row['Before'] or 'none'} -> {row['After'] or 'none'}"
    return str(row["Reason"])
