"""How the values that a store keeps stand in SQLite's tables, there and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from plugind.model import (
    Allocation,
    Declaration,
    Fingerprint,
    Instance,
    InstanceKey,
    Node,
    PluginKey,
    Stamp,
)
from plugind.store.base import Contents
from plugind.store.soundness import faults
from plugind.store.sqlite_file import Damaged

Decode = Callable[[Any], Any]
"""Makes a column's value one of plugind's. Raises ValueError for what plugind did not write."""

STAMP = """
    INSERT INTO stamps (resource, create_index, modify_index, create_time, modify_time)
    VALUES (?1, ?2, ?2, ?3, ?3)
    ON CONFLICT (resource) DO UPDATE SET modify_index = ?2, modify_time = ?3
"""


@dataclass(frozen=True, slots=True)
class Table:
    """The statements that write and read one kind of value, by the columns of its key (text all)
    and the others, which are decoded."""

    name: str
    key: tuple[str, ...]
    others: Mapping[str, Decode]

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.key, *self.others)

    @property
    def put(self) -> str:
        return (
            f"INSERT OR REPLACE INTO {self.name} ({', '.join(self.columns)}) "
            f"VALUES ({', '.join('?' * len(self.columns))})"
        )

    @property
    def delete(self) -> str:
        return f"DELETE FROM {self.name} WHERE {' AND '.join(f'{key} = ?' for key in self.key)}"

    def rows(self, db: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
        """Every row, decoded. Raises Damaged, which names the row."""
        decoders = {**dict.fromkeys(self.key, _text), **self.others}
        for row in db.execute(f"SELECT {', '.join(self.columns)} FROM {self.name}"):
            values = []
            for each, (column, decode) in zip(row, decoders.items(), strict=True):
                try:
                    values.append(decode(each))
                except ValueError as error:
                    key = "/".join(ascii(part).strip("'") for part in row[: len(self.key)])
                    raise Damaged(f"{self.name} {key}: {column}: {error}") from error
            yield tuple(values)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is no text")
    return value


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


def _texts(text: Any) -> dict[str, str]:
    return {key: _text(value) for key, value in _object(text).items()}


def _numbers(text: Any) -> dict[str, int]:
    return {key: _number(value) for key, value in _object(text).items()}


def _allocation(text: Any) -> Allocation | None:
    if text is None:
        return None
    value = _object(text)
    name, job_id, task_group = (_text(value.get(key)) for key in ("name", "job_id", "task_group"))
    return Allocation(
        name, job_id, task_group, _number(value.get("created")), _flag(value.get("runs"))
    )


NODES = Table(
    "nodes",
    ("id",),
    {
        **dict.fromkeys(("name", "datacenter", "version", "address"), _text),
        **dict.fromkeys(("attributes", "meta"), _texts),
        **dict.fromkeys(("secret_hash", "status"), _text),
        **dict.fromkeys(("status_since", "back_since", "cloned_since"), _number),
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
STAMPS = Table(
    "stamps",
    ("resource",),
    dict.fromkeys(("create_index", "modify_index", "create_time", "modify_time"), _number),
)


def head(db: sqlite3.Connection) -> tuple[str, int]:
    """The store's identity and its last index."""
    rows = db.execute("SELECT identity, last_index FROM store").fetchall()
    if len(rows) != 1:
        raise Damaged(f"store: one row must be there, not {len(rows)}")
    try:
        return _text(rows[0][0]), _number(rows[0][1])
    except ValueError as error:
        raise Damaged(f"store: {error}") from error


def contents(db: sqlite3.Connection) -> Contents:
    """All that a file holds. Raises Damaged for what cannot be read, or does not fit together."""
    _, index = head(db)
    found = Contents(
        index,
        [Node(*row) for row in NODES.rows(db)],
        [_instance(row) for row in INSTANCES.rows(db)],
        [Declaration(PluginKey(type_, id_), rest) for type_, id_, rest in DECLARATIONS.rows(db)],
        {resource: Stamp(*rest) for resource, *rest in STAMPS.rows(db)},
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
    )


def instance_row(value: Instance) -> tuple[Any, ...]:
    told = value.fingerprint
    return (
        *value.key,
        told.healthy,
        told.description,
        told.updated,
        told.alloc_id,
        _json(told.details),
        value.digest,
        value.missing_since,
        None if told.allocation is None else _json(asdict(told.allocation)),
    )


def declaration_row(value: Declaration) -> tuple[Any, ...]:
    return (*value.key, _json(value.expected))


def _instance(row: Sequence[Any]) -> Instance:
    *key, healthy, description, updated, alloc_id, details, digest, missing_since, allocation = row
    fingerprint = Fingerprint(healthy, description, updated, alloc_id, details, allocation)
    return Instance(InstanceKey(*key), fingerprint, digest, missing_since)
