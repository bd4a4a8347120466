"""``plugind history``, and the tables of history: what happened, newest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import floor
from typing import Any, NoReturn

import click
from rich.console import Group as Lines
from rich.console import RenderableType

from plugind import printable
from plugind.cli import output, terminal
from plugind.cli.commands import Command, examples
from plugind.cli.connection import connected
from plugind.cli.following import WAIT, Look, watch
from plugind.cli.output import Column
from plugind.client import Answer, Client
from plugind.model.changes import HISTORY_LIMIT
from plugind.model.times import SECOND, format_duration, parse_time

Row = Mapping[str, Any]

MINUTE = 60 * SECOND

SINCE = click.option(
    "--since", default="", metavar="DURATION|TIME", help="Only what happened since then, as 24h."
)
WATCH = click.option(
    "--watch",
    "watching",
    is_flag=True,
    help="Print a line for each transition, the newest last, and go on until Ctrl-C.",
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


@click.command(
    cls=Command,
    epilog=examples(
        "plugind history --since 1h  what happened in the last hour",
        "plugind history --watch     what happens from now on, until Ctrl-C",
    ),
)
@SINCE
@WATCH
@AS_JSON
@connected
def history(client: Client, since: str, watching: bool, as_json: bool) -> None:
    """Show what happened to all plugins and nodes: where, when and why, newest first."""
    show(
        client,
        lambda client, index: client.history(since=since, index=index, wait=WAIT),
        watching=watching,
        as_json=as_json,
    )


def show(
    client: Client,
    look: Look,
    availability: Callable[[], Sequence[Row]] = lambda: (),
    *,
    watching: bool,
    as_json: bool,
) -> None:
    """Print ``availability`` and then history; with ``watching``, also each new transition.

    With ``watching``, history is printed line by line, without end.
    """
    answer = look(client, 0)
    if as_json and not watching:
        output.print_json(answer.value)
        say_more(answer, err=True)
        return
    if not as_json and (available := availability_table(availability())):
        output.console().print(Lines(available, ""))
    if watching:
        _follow(client, look, as_json)
    table = history_table(answer.value)
    output.console().print(table or "No events in the history.")
    say_more(answer)


def say_more(answer: Answer, *, err: bool = False) -> None:
    """Print a remark if an answer does not have all transitions."""
    if answer.next_token:
        shown = len(answer.value)
        terminal.echo(
            f"These are the newest {shown:,}, and there are more: --since selects fewer, and the "
            "HTTP API has all, page by page.",
            err=err,
        )


def _follow(client: Client, look: Look, as_json: bool) -> NoReturn:
    """Print each transition once, the newest last."""
    last, said = [0], [""]

    def print_new(rows: Sequence[Row] | None, away: str, is_new: bool) -> None:
        if away != said[0]:
            said[0] = away
            if away:
                terminal.echo(away, err=True)
        new = [row for row in rows or () if row["Seq"] > last[0]]
        if last[0] and len(new) == HISTORY_LIMIT:
            terminal.echo("more happened than is shown here", err=True)
        for row in reversed(new):
            if as_json:
                output.print_json(row, one_line=True)
            else:
                terminal.echo(_line(row))
        last[0] = max([last[0], *(row["Seq"] for row in new)])

    watch(client, {"": look}, lambda values: values[""], print_new)


def _line(row: Row) -> str:
    """Return a transition as one line."""
    plugin = f"{row['Type']}/{row['ID']}" if row["ID"] else ""
    words = row["Time"], row["Event"], plugin, row["Role"], row["NodeName"], _details(row)
    return printable.one_line(" ".join(word for word in words if word))


def history_table(rows: Iterable[Row]) -> RenderableType | None:
    """Return a table of transitions; None when there are none."""
    cells = []
    for row in rows:
        time, since = output.since(row["Time"]), output.since(row["Since"])
        names = row["Type"], row["ID"], row["Role"], row["NodeName"]
        cells.append([time, row["Event"], *names, "" if since == time else since, _details(row)])
    return output.table(_COLUMNS, cells) if cells else None


def availability_table(rows: Sequence[Row]) -> RenderableType | None:
    """Return a table of how much of the time instances were healthy; None if ``rows`` is empty."""
    if not rows:
        return None
    names = [window["Window"] for window in rows[0]["Windows"]]
    columns = [
        Column("Type"),
        Column("Role"),
        *(Column(f"Healthy {name}") for name in names),
        *(Column(f"At least one {name}", drop=1) for name in names),
    ]
    cells = [
        [
            *(row["Type"], row["Role"]),
            *(_share(window, "Availability") for window in row["Windows"]),
            *(_share(window, "AnyHealthy") for window in row["Windows"]),
        ]
        for row in rows
    ]
    return output.table(columns, cells)


def _share(window: Row, name: str) -> str:
    """Return the share for a window, with the length of its known part if not all is known."""
    if (share := window[name]) is None:
        return "-"
    percent = _percent(share)
    since, known, until = (parse_time(window[edge]) for edge in ("Since", "KnownSince", "Until"))
    if known <= since:
        return percent
    hours, minutes = divmod((until - known) // MINUTE, 60)
    return f"{percent} of {f'{hours}h' if hours else f'{minutes}m'}"


def _percent(share: float) -> str:
    """Return a share in percent, rounded down so that a short failure does not show as 100 %."""
    return f"{floor(max(round(share * 100_000, 3), share > 0)) / 1000:g}%"


def _details(row: Row) -> str:
    """Return what changed, and why, in a few words."""
    if row["Event"] == "flapping":
        healthy = format_duration(row["HealthySeconds"] * SECOND)
        return f"{row['Count']} changes, healthy for {healthy} in all: {row['Reason']}"
    if row["Event"] in ("version", "expected"):
        return f"{row['Before'] or 'none'} -> {row['After'] or 'none'}"
    return str(row["Reason"])
