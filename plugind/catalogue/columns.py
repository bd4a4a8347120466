"""Values of the fields of a list's rows, cached for the next filter that uses the same fields."""

from __future__ import annotations

from typing import Any

Row = tuple[str, bytes]

UNREAD: Any = object()
"""Stands for a value that no filter has asked for yet, or that was not kept."""

Column = list[Any]
"""The values of one field, in the order of the rows."""


class Columns:
    """The columns of one list, for all its versions: a row that is the same object at the same
    place in the next version keeps its values. Safe for threads, without a lock.
    """

    def __init__(self) -> None:
        self._last: tuple[tuple[Row, ...], dict[str, Column]] = (), {}

    def of(self, rows: tuple[Row, ...]) -> dict[str, Column]:
        """Return the columns of a version of the list, by field name; the callers fill them."""
        known, columns = self._last
        if known is not rows:
            columns = _carried(known, rows, columns) if len(known) == len(rows) else {}
            self._last = rows, columns
        return columns


def _carried(
    known: tuple[Row, ...], rows: tuple[Row, ...], columns: dict[str, Column]
) -> dict[str, Column]:
    """Return copies of columns without the values of the rows that changed."""
    pairs = enumerate(zip(known, rows, strict=True))
    changed = [at for at, (old, new) in pairs if old[1] is not new[1]]
    copies = {name: column.copy() for name, column in list(columns.items())}
    for column in copies.values():
        for at in changed:
            column[at] = UNREAD
    return copies
