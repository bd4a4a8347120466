"""What commands print: tables and times for people, JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from plugind.fields import SECOND, format_duration, format_time, parse_time

_PIPED_WIDTH = 10_000  # nothing is cut or wrapped where a program may read it


def print_json(value: Any, *, one_line: bool = False) -> None:
    """Prints a value as JSON, with sorted keys."""
    click.echo(json.dumps(value, sort_keys=True, indent=None if one_line else 4))


def console() -> Console:
    """Where tables go: coloured and as wide as the terminal, or plain and as wide as need be."""
    return Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of plain text; text in square brackets is no markup."""
    made = Table(*header, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        made.add_row(*(escape(cell) for cell in row))
    return made


def pairs(values: Mapping[str, str]) -> Table:
    """Names and their values, one pair a line, as Nomad prints them."""
    made = Table(box=None, pad_edge=False, show_header=False)
    for name, value in values.items():
        made.add_row(name, "=", escape(value))
    return made


def health(healthy: bool) -> str:
    return "healthy" if healthy else "unhealthy"


def process_names(allocations: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """What processes are called, by node ID and AllocID; with what became of those that ended."""
    return {
        (one["NodeID"], one["ID"]): one["Name"]
        if one["ClientStatus"] == "running"
        else f"{one['Name']} ({one['ClientStatus']})"
        for one in allocations
    }


def since(text: str) -> str:
    """A time of the wire (RFC 3339) and how long ago it was."""
    try:
        moment = parse_time(text)
    except (ValueError, TypeError):
        return str(text)
    seconds = max(0, (time.time_ns() - moment) // SECOND)
    return f"{format_time(moment - moment % SECOND)} ({ago(seconds)} ago)"


def ago(seconds: int) -> str:
    """A span in its two largest units: "3d4h", "12m5s"."""
    days, rest = divmod(seconds, 86_400)
    if days:
        return f"{days}d{rest // 3600}h"
    if seconds >= 3600:
        return format_duration((seconds - seconds % 60) * SECOND).removesuffix("0s")
    return format_duration(seconds * SECOND)
