"""Tables as CSV, for spreadsheets (RFC 4180)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from plugind.api.reply import Reply
from plugind.model.times import format_time
from plugind.printable import escaped

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Characters that a spreadsheet takes for the beginning of a formula."""

VARY = "Accept-Encoding, Cookie, X-Nomad-Token, Authorization"
"""The headers of a request that pages and their tables depend on."""

Cell = str | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a table, and its rows in plain values."""

    columns: Sequence[str]
    rows: Iterable[Sequence[Cell]]


def when(time: int) -> str:
    """Return a time as a cell, "" for 0."""
    return format_time(time) if time else ""


def cell(value: Cell) -> str:
    """Return a value as text that no spreadsheet runs as a formula and no terminal interprets."""
    text = "" if value is None else str(value)
    guard = "'" if isinstance(value, str) and text.startswith(_FORMULA) else ""
    return guard + escaped(text)


def csv_asked(name: str, tables: Mapping[str, Callable[[], Table]]) -> Reply | None:
    """Return the table of a page that is asked for, None if ``name`` is none of its tables."""
    return csv_reply(name, tables[name]()) if name in tables else None


def csv_reply(name: str, table: Table) -> Reply:
    """Return a table as a file to be saved; ``name`` is part of its name, and is not escaped."""
    text = io.StringIO()
    # A quoted cell stays whole, whichever character a spreadsheet takes for the separator.
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(table.columns)
    writer.writerows([cell(each) for each in row] for row in table.rows)
    headers = {
        "Content-Disposition": f'attachment; filename="plugind-{name}.csv"',
        "X-Content-Type-Options": "nosniff",
        "Vary": VARY,
    }
    body = text.getvalue().encode()
    return Reply(body, content_type="text/csv; charset=utf-8", headers=headers)
