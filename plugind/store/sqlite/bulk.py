"""Writes many rows with few statements.

Python's sqlite3 releases the interpreter lock while a statement runs, and gets it back only when
other threads release it. With a statement for each row, a change of 4,096 instances would wait for
busy threads thousands of times.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

from plugind.model import Stamp
from plugind.store.sqlite.rows import Table

_AT_ONCE = (256, 64, 16)
"""Rows per statement, or any number below the last. There are few sizes, so that most statements
are in sqlite3's cache of compiled ones. Fewer statements matter more, because each one gives up the
interpreter lock."""

_STAMPS = (
    "INSERT INTO stamps (resource, create_index, modify_index, create_time, modify_time) VALUES "
)
_UNLESS_NEW = """
    ON CONFLICT (resource) DO UPDATE
    SET modify_index = excluded.modify_index, modify_time = excluded.modify_time
"""


def put(db: sqlite3.Connection, table: Table, rows: Sequence[Sequence[Any]]) -> None:
    """Write rows of all the table's columns, replacing those with the same keys."""
    insert(db, table.name, table.columns, rows)


def insert(
    db: sqlite3.Connection, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Write rows of these columns, replacing those with the same keys."""
    head = f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES "
    _execute(db, head, _values(len(columns)), ", ", "", rows)


def upsert(
    db: sqlite3.Connection,
    table: str,
    columns: Sequence[str],
    keys: int,
    rows: Sequence[Sequence[Any]],
) -> None:
    """Write rows of these columns; the first ``keys`` columns are the key. An existing row is
    updated, so that a trigger for new rows does not run."""
    head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
    others = ", ".join(f"{column} = excluded.{column}" for column in columns[keys:])
    tail = f" ON CONFLICT ({', '.join(columns[:keys])}) DO UPDATE SET {others}"
    _execute(db, head, _values(len(columns)), ", ", tail, rows)


def delete(db: sqlite3.Connection, table: Table, keys: Sequence[Sequence[Any]]) -> None:
    """Delete the rows with these keys, if they exist."""
    # With a key of several columns, "(a, b) IN (VALUES ...)" would read the whole table.
    row = f"({' AND '.join(f'{column} = ?' for column in table.key)})"
    _execute(db, f"DELETE FROM {table.name} WHERE ", row, " OR ", "", keys)


def stamp(db: sqlite3.Connection, stamps: Mapping[str, Stamp]) -> None:
    """Record when resources changed; an existing one keeps its time of creation."""
    rows = [
        (name, one.create_index, one.modify_index, one.create_time, one.modify_time)
        for name, one in stamps.items()
    ]
    _execute(db, _STAMPS, _values(5), ", ", _UNLESS_NEW, rows)


def _values(columns: int) -> str:
    return f"({', '.join('?' * columns)})"


def _execute(
    db: sqlite3.Connection,
    head: str,
    row: str,
    between: str,
    tail: str,
    rows: Sequence[Sequence[Any]],
) -> None:
    start = 0
    while left := len(rows) - start:
        size = next((each for each in _AT_ONCE if each <= left), left)
        statement = _statement(head, row, between, tail, size)
        db.execute(statement, list(chain.from_iterable(rows[start : start + size])))
        start += size


@cache
def _statement(head: str, row: str, between: str, tail: str, rows: int) -> str:
    return head + between.join([row] * rows) + tail
