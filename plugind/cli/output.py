"""The output of commands: tables and times for people, JSON for programs."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from plugind import printable
from plugind.cli import terminal
from plugind.model.times import SECOND, format_duration, parse_time, time_text

_PIPED_WIDTH = 10_000
"""The line width, in characters, for output that a program may read: wide enough not to wrap."""

_READABLE = 16
"""Characters; other columns are left out before a wider column is shrunk below this width."""

_GAP = 2
"""Blanks between two columns of a table."""


def print_json(value: Any, *, one_line: bool = False) -> None:
    """Print a value as JSON, with sorted keys."""
    text = json.dumps(value, sort_keys=True, indent=None if one_line else 4)
    terminal.echo(printable.json_line(text))


def console() -> Console:
    """Return the console for tables: as wide as the terminal, or very wide if there is none."""
    return Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False)


@dataclass(frozen=True)
class Column:
    """A column of a table, and its treatment on a narrow terminal.

    ``drop`` is 0 for a column that is always shown; of the others, the column with the lowest
    number is left out first. ``whole_words`` avoids breaking words as long as possible.
    ``drop_empty`` leaves the column out when it is empty in every row.
    """

    name: str
    drop: int = 0
    whole_words: bool = False
    drop_empty: bool = False


class FittedTable:
    """A table that fits the available width; nothing in a shown column is cut off.

    If there is too little room, columns are left out first, then cells are wrapped.
    """

    def __init__(self, columns: Iterable[Column], rows: Sequence[Sequence[str]]) -> None:
        cells = zip(*rows, strict=True) if rows else itertools.repeat(())
        self._columns = [
            _Cells(column, [printable.one_line(text) for text in texts])
            for column, texts in zip(columns, cells, strict=bool(rows))
            if not column.drop_empty or any(texts)
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown, room = self._fitting(options.max_width)
        table = Table(box=None, pad_edge=False, header_style="bold")
        widths = _shrunk([one.natural for one in shown], [one.least for one in shown], room)
        for one, width in zip(shown, widths, strict=True):
            table.add_column(Text(one.column.name), width=width, overflow="fold")
        for row in zip(*(one.texts for one in shown), strict=True):
            table.add_row(*(Text(cell) for cell in row))
        yield table

    def _fitting(self, width: int) -> tuple[list[_Cells], int]:
        """Return the columns to show in that width, and the room for their cells."""
        shown = list(self._columns)
        while True:
            room = width - _GAP * (len(shown) - 1)
            optional = [one for one in shown if one.column.drop]
            if not optional or sum(one.least for one in shown) <= room:
                return shown, room
            shown.remove(min(optional, key=lambda one: one.column.drop))


class _Cells:
    """A column with its texts, their natural width, and the least width to read them with."""

    def __init__(self, column: Column, texts: Sequence[str]) -> None:
        self.column = column
        self.texts = texts
        everything = [column.name, *texts]
        self.natural = max(map(cell_len, everything))
        words = (cell_len(word) for text in everything for word in text.split())
        self.least = max(words, default=0) if column.whole_words else min(self.natural, _READABLE)


def _shrunk(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Return widths whose sum is at most ``room``.

    The widest columns shrink first: down to their ``least`` widths if that is enough, else to 1.
    """
    shrunk = [min(width, max(room, 1)) for width in widths]
    for floors in (least, [1] * len(shrunk)):
        while sum(shrunk) > room:
            above = [n for n, width in enumerate(shrunk) if width > floors[n]]
            if not above:
                break
            shrunk[max(above, key=lambda n: shrunk[n])] -= 1
    return shrunk


def table(columns: Iterable[Column | str], rows: Iterable[Sequence[str]]) -> FittedTable:
    """Return a table of plain text; a column given as a name only is always shown.

    Control characters in cells become escapes.
    """
    named = [Column(one) if isinstance(one, str) else one for one in columns]
    return FittedTable(named, [[printable.one_line(cell) for cell in row] for row in rows])


def pairs(values: Mapping[str, str]) -> Table:
    """Return names and their values, one pair per line, as Nomad prints them."""
    made = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        made.add_column(overflow="fold")
    for name, value in values.items():
        made.add_row(*(Text(printable.one_line(text)) for text in (name, "=", value)))
    return made


def health(healthy: bool) -> str:
    """Return the word for an instance's health."""
    return "healthy" if healthy else "unhealthy"


def process_names(allocations: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Return names of processes by node ID and AllocID, with the status unless it is "running"."""
    return {
        (one["NodeID"], one["ID"]): one["Name"]
        if one["ClientStatus"] == "running"
        else f"{one['Name']} ({one['ClientStatus']})"
        for one in allocations
    }


def since(text: str) -> str:
    """Return an RFC 3339 time from the API to the second, and how long ago it was."""
    try:
        moment = parse_time(text)
    except (ValueError, TypeError):
        return str(text)
    seconds = max(0, (time.time_ns() - moment) // SECOND)
    return f"{time_text(moment)} ({ago(seconds)} ago)"


def ago(seconds: int) -> str:
    """Return a time span in its two largest units: "3d4h", "12m5s"."""
    days, rest = divmod(seconds, 86_400)
    if days:
        return f"{days}d{rest // 3600}h"
    if seconds >= 3600:
        return format_duration((seconds - seconds % 60) * SECOND).removesuffix("0s")
    return format_duration(seconds * SECOND)
