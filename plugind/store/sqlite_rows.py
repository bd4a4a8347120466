"""How the values that a store keeps stand in SQLite's tables, there and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from plugind.model import Declaration, Fingerprint, Instance, InstanceKey, Node, PluginKey


@dataclass(frozen=True, slots=True)
class Table:
    """The statements that write one kind of value, by the columns of its key and the others."""

    name: str
    key: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def put(self) -> str:
        columns = self.key + self.others
        return (
            f"INSERT OR REPLACE INTO {self.name} ({', '.join(columns)}) "
            f"VALUES ({', '.join('?' * len(columns))})"
        )

    @property
    def delete(self) -> str:
        return f"DELETE FROM {self.name} WHERE {' AND '.join(f'{key} = ?' for key in self.key)}"


NODES = Table(
    "nodes",
    ("id",),
    (
        *("name", "datacenter", "version", "address", "attributes", "meta"),
        *("secret_hash", "status", "status_since", "back_since", "cloned_since"),
    ),
)
INSTANCES = Table(
    "instances",
    ("node_id", "type", "id", "role"),
    ("healthy", "description", "updated", "alloc_id", "details", "digest", "missing_since"),
)
DECLARATIONS = Table("declarations", ("type", "id"), ("expected",))


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


def node(row: Sequence[Any]) -> Node:
    id_, name, datacenter, version, address, attributes, meta, *rest = row
    return Node(
        id_,
        name,
        datacenter,
        version,
        address,
        orjson.loads(attributes),
        orjson.loads(meta),
        *rest,
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
    )


def instance(row: Sequence[Any]) -> Instance:
    *key, healthy, description, updated, alloc_id, details, digest, missing_since = row
    fingerprint = Fingerprint(bool(healthy), description, updated, alloc_id, orjson.loads(details))
    return Instance(InstanceKey(*key), fingerprint, digest, missing_since)


def declaration_row(value: Declaration) -> tuple[Any, ...]:
    return (*value.key, _json(value.expected))


def declaration(row: Sequence[Any]) -> Declaration:
    type_, id_, expected = row
    return Declaration(PluginKey(type_, id_), orjson.loads(expected))
