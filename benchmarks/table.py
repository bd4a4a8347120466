"""The table of a run, in Markdown that is also readable in a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.results import RATE, Row, Spread

BEGIN = "<!-- make bench: begin -->"
END = "<!-- make bench: end -->"
_COLUMNS = (
    "figure",
    "on",
    "yardstick",
    "plugind",
    "ratio",
    "target",
    "",
    "µs of CPU",
    "by CPU",
    "notes",
)


def table(rows: Sequence[Row]) -> str:
    """Return rows as a table whose columns are aligned."""
    cells = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[number]) for line in cells) for number in range(len(_COLUMNS))]
    lines = [_line(line, widths) for line in cells]
    return "\n".join([lines[0], _line(["-" * width for width in widths], widths), *lines[1:]])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"


def _cells(row: Row) -> Sequence[str]:
    yardstick = f"{row.yardstick}: {of(row.yardsticks, row.unit)}" if row.yardsticks else ""
    met = {True: "reached", False: "missed", None: ""}[row.is_met]
    cpus = [number(each) for each in (row.yardstick_cpu, row.cpu) if each is not None]
    return (
        row.what,
        row.server,
        yardstick,
        of(row.values, row.unit),
        _ratio(row.ratio),
        ", ".join(row.reach.texts(row.unit)),
        met,
        "; ".join(cpus),
        "" if row.cpu_ratio is None else f"{row.cpu_ratio:.2f}",
        "; ".join(row.notes),
    )


def of(values: Sequence[float], unit: str) -> str:
    """Return the median of values, with their extremes if there are several."""
    spread = Spread.of(values)
    text = number(spread.median) + (unit if unit == RATE else f" {unit}")
    if len(values) == 1:
        return text
    return f"{text} ({number(spread.least)} to {number(spread.most)})"


def number(value: float) -> str:
    """Return a number with three significant digits, or all digits before its decimal point."""
    for bound, decimals in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= bound:
            return f"{value:,.{decimals}f}"
    return f"{value:.3f}"


def _ratio(ratio: Spread | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio.median:.2f} ({ratio.least:.2f} to {ratio.most:.2f})"


def written(document: str, result: str) -> str:
    """Return a document with a result in place of the text between its two markers. Raise
    ValueError when it does not have both."""
    pattern = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"it needs a line {BEGIN!r}, and after it a line {END!r}")
    return pattern.sub(lambda found: f"{BEGIN}\n\n{result}\n\n{END}", document, count=1)
