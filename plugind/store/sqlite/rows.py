"""Converts the values that a store keeps to rows of SQLite's tables, and back."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from plugind.model import (
    Allocation,
    Beat,
    Declaration,
    Forgotten,
    Instance,
    InstanceKey,
    KeptSecret,
    Node,
    PluginKey,
    Run,
    Session,
    Stamp,
)
from plugind.store.base import Contents
from plugind.store.soundness import faults
from plugind.store.sqlite.file import Damaged

Decode = Callable[[Any], Any]
"""Converts the value of a column to plugind's. Raises ValueError for one it did not write."""

_AT_ONCE = 1_000
"""Rows that are read together."""

STAMP = """
    INSERT INTO stamps (resource, create_index, modify_index, create_time, modify_time)
    VALUES (?1, ?2, ?2, ?3, ?3)
    ON CONFLICT (resource) DO UPDATE SET modify_index = ?2, modify_time = ?3
"""


@dataclass(frozen=True, slots=True)
class Table:
    """The table of one kind of value: the columns of its key (all text), and the others with the
    functions that decode them."""

    name: str
    key: tuple[str, ...]
    others: Mapping[str, Decode]

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.key, *self.others)

    def raw(self, db: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
        """Yield every row as SQLite has it, ordered by key. Raise Damaged, which names the row, if
        the value of a column does not even have the right type."""
        types = tuple(_RAW.get(each, str) for each in self._decoders)
        columns, key = ", ".join(self.columns), ", ".join(self.key)
        found = db.execute(f"SELECT {columns} FROM {self.name} ORDER BY {key}")
        while some := found.fetchmany(_AT_ONCE):
            try:
                # All at once: checking values one by one takes longer than reading them.
                yield from msgspec.convert(some, list[tuple[types]])  # type: ignore[valid-type]
            except msgspec.ValidationError:
                for row in some:
                    self.check(row)
                raise

    def rows(self, db: sqlite3.Connection) -> Iterator[list[Any]]:
        """Yield every row, decoded, ordered by key. Raise Damaged, which names the row."""
        made = [(at, each) for at, each in enumerate(self._decoders) if each not in _AS_IT_IS]
        for row in self.raw(db):
            values = list(row)
            try:
                for place, decode in made:
                    values[place] = decode(row[place])
            except ValueError:
                self.check(row)
                raise
            yield values

    @property
    def _decoders(self) -> tuple[Decode, ...]:
        return (*(_text for _ in self.key), *self.others.values())

    def check(self, row: Sequence[Any]) -> None:
        """Raise Damaged for the first invalid column of a row."""
        for value, column, decode in zip(row, self.columns, self._decoders, strict=True):
            try:
                decode(value)
            except ValueError as error:
                key = "/".join(ascii(part).strip("'") for part in row[: len(self.key)])
                raise Damaged(f"{self.name} {key}: {column}: {error}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is no text")
    return value


def _word(value: Any) -> str:
    """Return a text that many rows share, as one object for all of them."""
    return sys.intern(_text(value))


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError("is no number")
    return value


def _flag(value: Any) -> bool:
    return bool(_number(value))


def _time(value: Any) -> int | None:
    return None if value is None else _number(value)


def _object(text: Any) -> dict[str, Any]:
    value = orjson.loads(text)
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")
    return value


@lru_cache(1_024)
def _texts(text: Any) -> dict[str, str]:
    """Return texts by name. Nodes with the same texts share the dictionary."""
    return {sys.intern(key): sys.intern(_text(value)) for key, value in _object(text).items()}


def _numbers(text: Any) -> dict[str, int]:
    return {key: _number(value) for key, value in _object(text).items()}


_process = msgspec.json.Decoder(Allocation).decode


def _allocation(text: Any) -> Allocation | None:
    return None if text is None else _process(text)


_AS_IT_IS = (_text, _number, _time)
"""Decoders that only check a value."""

_RAW: Mapping[Decode, Any] = {_number: int, _flag: int, _time: int | None, _allocation: str | None}
"""The types of columns that are not texts."""


NODES = Table(
    "nodes",
    ("id",),
    {
        "name": _text,
        **dict.fromkeys(("datacenter", "version"), _word),
        "address": _text,
        **dict.fromkeys(("attributes", "meta"), _texts),
        "secret_hash": _text,
        "status": _word,
        **dict.fromkeys(("status_since", "back_since", "cloned_since", "heard"), _number),
        "accessor": _word,
    },
)
INSTANCES = Table(
    "instances",
    ("node_id", "type", "id", "role"),
    {
        "healthy": _flag,
        "description": _text,
        "updated": _number,
        "alloc_id": _text,
        "details": _object,
        "digest": _text,
        "missing_since": _time,
        "allocation": _allocation,
    },
)
DECLARATIONS = Table("declarations", ("type", "id"), {"expected": _numbers})
FORGOTTEN = Table(
    "forgotten", ("node_id", "type", "id", "role"), {"time": _number, "ignored": _flag}
)
BEATS = Table("beats", ("node_id",), dict.fromkeys(("heard", "ttl"), _number))
KEPT_SECRETS = Table(
    "kept_secrets", ("node_id",), {"secret_hash": _text, "accessor": _text, "time": _number}
)
RUNS = Table("runs", ("id",), dict.fromkeys(("start", "last"), _number))
SESSIONS = Table(
    "sessions",
    ("key",),
    {"accessor": _text, "token": _text, "began": _number, "ends": _number},
)
STAMPS = Table(
    "stamps",
    ("resource",),
    dict.fromkeys(("create_index", "modify_index", "create_time", "modify_time"), _number),
)


def head(db: sqlite3.Connection) -> tuple[str, int]:
    """Return the store's identity and its last index."""
    rows = db.execute("SELECT identity, last_index FROM store").fetchall()
    if len(rows) != 1:
        raise Damaged(f"store: one row must be there, not {len(rows)}")
    try:
        return _text(rows[0][0]), _number(rows[0][1])
    except ValueError as error:
        raise Damaged(f"store: {error}") from error


def contents(db: sqlite3.Connection) -> Contents:
    """Return the contents of a file. Raise Damaged for rows that cannot be read or contradict each
    other."""
    _, index = head(db)
    found = Contents(
        index,
        [Node(*row) for row in NODES.rows(db)],
        list(instances(db)),
        [Declaration(PluginKey(type_, id_), rest) for type_, id_, rest in DECLARATIONS.rows(db)],
        {resource: Stamp(*rest) for resource, *rest in STAMPS.rows(db)},
        [Forgotten(InstanceKey(*row[:4]), *row[4:]) for row in FORGOTTEN.rows(db)],
        {node_id: Beat(*rest) for node_id, *rest in BEATS.rows(db)},
        [KeptSecret(*row) for row in KEPT_SECRETS.rows(db)],
        sorted((Run(*row) for row in RUNS.rows(db)), key=lambda run: (run.start, run.id)),
        [Session(*row) for row in SESSIONS.rows(db)],
    )
    if fault := next(faults(found), ""):
        raise Damaged(fault)
    return found


def _json(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def node_row(value: Node) -> tuple[Any, ...]:
    return (
        value.id,
        value.name,
        value.datacenter,
        value.version,
        value.address,
        _json(value.attributes),
        _json(value.meta),
        value.secret_hash,
        value.status,
        value.status_since,
        value.back_since,
        value.cloned_since,
        value.heard,
        value.accessor,
    )


def instance_row(value: Instance) -> tuple[Any, ...]:
    fingerprint = value.fingerprint
    process = fingerprint.allocation
    return (
        *value.key,
        fingerprint.healthy,
        fingerprint.description,
        fingerprint.updated,
        fingerprint.alloc_id,
        value.details_json,
        value.digest,
        value.missing_since,
        None if process is None else _json(msgspec.structs.asdict(process)),
    )


def declaration_row(value: Declaration) -> tuple[Any, ...]:
    return (*value.key, _json(value.expected))


def forgotten_row(value: Forgotten) -> tuple[Any, ...]:
    return (*value.key, value.time, value.ignored)


def kept_secret_row(value: KeptSecret) -> tuple[Any, ...]:
    return (value.node_id, value.secret_hash, value.accessor, value.time)


def session_row(value: Session) -> tuple[Any, ...]:
    return (value.key, value.accessor, value.token, value.began, value.ends)


def instances(db: sqlite3.Connection) -> Iterator[Instance]:
    """Yield every instance, ordered by key. Raise Damaged for a row that cannot be read."""
    intern, stored = sys.intern, Instance.stored
    for row in INSTANCES.raw(db):
        node_id, type_, id_, role, healthy, description, updated, *others = row
        alloc_id, details, digest, missing_since, process = others
        try:
            if not isinstance(orjson.loads(details), dict):
                raise ValueError("is no JSON object")
            allocation = None if process is None else _process(process)
        except ValueError:
            INSTANCES.check(row)
            raise
        key = InstanceKey(intern(node_id), intern(type_), intern(id_), intern(role))
        rest = updated, alloc_id, digest
        yield stored(key, bool(healthy), description, details, allocation, missing_since, rest)
