"""Turns what is held into the bytes of answers, each made once and kept until it changes.

An instance is rendered when it is first read after a change; a body joins its instances' bytes, a
list its rows' bytes. So a read costs what changed, whatever the size of the fleet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from plugind.allocation_schemas import (
    AllocationStubSchema,
    NodeAllocationSchema,
    allocation_document,
)
from plugind.catalogue.holdings import Holdings
from plugind.fields import format_time
from plugind.model import (
    DOWN,
    NODES,
    Change,
    Fingerprint,
    InstanceKey,
    Node,
    PluginKey,
    Stamp,
    node_of,
    plugins_of,
    seen,
)
from plugind.node_schemas import NodeSchema, Wanted, node_document, row_schema
from plugind.plugin_schemas import (
    PluginSchemas,
    fingerprint_document,
    node_keys,
    stamp_fields,
)

Row = tuple[str, bytes]

_STUB = AllocationStubSchema()
_NODE_ALLOCATION = NodeAllocationSchema()
_NODE = NodeSchema()
_NODE_ROW = {wanted: row_schema(wanted) for wanted in Wanted.all()}


@dataclass(frozen=True, slots=True)
class Listing:
    """A list: its rows by ID, in the order of their IDs, and all of them as one JSON array."""

    rows: tuple[Row, ...]
    body: bytes

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Listing:
        made = tuple(rows)
        return cls(made, array(row for _, row in made))


class Renderer:
    """Renders what is in ``holdings`` and ``stamps``, which somebody else keeps up to date and
    then calls ``forget`` with what changed. Not safe for threads by itself."""

    def __init__(
        self,
        holdings: Holdings,
        stamps: Mapping[str, Stamp],
        schemas: Mapping[str, PluginSchemas],
        *,
        as_document: bool,
    ) -> None:
        self._held = holdings
        self._stamps = stamps
        self._schemas = schemas
        self._as_document = as_document
        self._rows: dict[str, bytes] = {}
        self._bodies: dict[str, bytes] = {}
        self._lists: dict[str, Listing] = {}
        self._instances: dict[InstanceKey, bytes] = {}
        self._stubs: dict[InstanceKey, bytes] = {}
        self._allocations: dict[str, Listing] = {}
        self._node_rows: dict[str, dict[Wanted, bytes]] = {}
        self._node_lists: dict[Wanted, Listing] = {}

    def forget(self, change: Change) -> None:
        """Lets go of everything rendered from what a change replaces or touches."""
        replaced = {step.some.key for step in change.instances}
        for node in change.nodes:
            replaced |= self._held.on_node(node.some.id).keys()
        for key in replaced:
            self._instances.pop(key, None)
            self._stubs.pop(key, None)
        for resource in change.touched:
            self._rows.pop(resource, None)
            self._bodies.pop(resource, None)
            self._lists.pop(resource, None)
            self._allocations.pop(resource, None)
            self._node_rows.pop(resource, None)
        if NODES in change.touched:
            self._node_lists.clear()

    def plugins(self, type_: str) -> Listing:
        """The list of a type's plugins, sorted by ID."""
        resource = plugins_of(type_)
        if resource not in self._lists:
            keys = sorted(key for key in self._held.plugins() if key.type == type_)
            self._lists[resource] = Listing.of((key.id, self._row(key)) for key in keys)
        return self._lists[resource]

    def nodes(self, wanted: Wanted) -> Listing:
        """The list of nodes, sorted by ID."""
        if wanted not in self._node_lists:
            nodes = sorted(self._held.nodes.values(), key=lambda node: node.id)
            rows = ((node.id, self._node_row(node, wanted)) for node in nodes)
            self._node_lists[wanted] = Listing.of(rows)
        return self._node_lists[wanted]

    def plugin(self, key: PluginKey) -> bytes:
        """One plugin with all its instances."""
        resource = key.resource
        if resource not in self._bodies:
            schemas = self._schemas[key.type]
            parts = _parts(schemas.body.dump(self._plugin_document(key)))
            parts["Allocations"] = array(self._plugin_allocations(key))
            for role, plural in schemas.type.roles.items():
                keys = [one for one in self._held.of_plugin(key) if one.role == role]
                parts[plural] = _object((one.node_id, self._instance(one)) for one in sorted(keys))
            body = _object(sorted(parts.items()))
            if self._as_document:
                body = orjson.dumps(schemas.type.document_body(orjson.loads(body)))
            self._bodies[resource] = body
        return self._bodies[resource]

    def node(self, node: Node) -> bytes:
        """One node with all its instances."""
        resource = node_of(node.id)
        if resource not in self._bodies:
            parts = _parts(_NODE.dump(self._node_document(node)))
            keys = sorted(self._held.on_node(node.id))
            for schemas in self._schemas.values():
                type_ = schemas.type
                for role, name in node_keys(type_).items():
                    mine = [key for key in keys if (key.type, key.role) == (type_.name, role)]
                    parts[name] = _object((key.id, self._instance(key)) for key in mine)
            self._bodies[resource] = _object(sorted(parts.items()))
        return self._bodies[resource]

    def allocations(self, node: Node) -> Listing:
        """The processes behind the instances of a node."""
        resource = node_of(node.id)
        if resource not in self._allocations:
            shown = {key: self._seen(key) for key in self._held.on_node(node.id)}
            self._allocations[resource] = Listing.of(
                (
                    shown[key].alloc_id,
                    _json(_NODE_ALLOCATION.dump(allocation_document(key, node, shown[key]))),
                )
                for key in one_a_process(shown)
            )
        return self._allocations[resource]

    def _plugin_allocations(self, key: PluginKey) -> Iterator[bytes]:
        shown = {one: self._seen(one) for one in self._held.of_plugin(key)}
        for one in one_a_process(shown):
            if one not in self._stubs:
                node = self._held.nodes[one.node_id]
                self._stubs[one] = _json(_STUB.dump(allocation_document(one, node, shown[one])))
            yield self._stubs[one]

    def _row(self, key: PluginKey) -> bytes:
        resource = key.resource
        if resource not in self._rows:
            schemas = self._schemas[key.type]
            row = schemas.row.dump(self._plugin_document(key))
            self._rows[resource] = (
                orjson.dumps(schemas.type.document_row(row)) if self._as_document else _json(row)
            )
        return self._rows[resource]

    def _node_row(self, node: Node, wanted: Wanted) -> bytes:
        rows = self._node_rows.setdefault(node_of(node.id), {})
        if wanted not in rows:
            rows[wanted] = _json(_NODE_ROW[wanted].dump(self._node_document(node)))
        return rows[wanted]

    def _instance(self, key: InstanceKey) -> bytes:
        if key not in self._instances:
            self._instances[key] = _json(fingerprint_document(key.id, self._seen(key)))
        return self._instances[key]

    def _seen(self, key: InstanceKey) -> Fingerprint:
        return seen(self._held.on_node(key.node_id)[key], self._held.nodes[key.node_id])

    def _plugin_document(self, key: PluginKey) -> dict[str, Any]:
        """Everything that a row or a body may show of a plugin but its instances themselves.

        Each count is taken from the instances there are, or from what is declared.
        """
        type_ = self._schemas[key.type].type
        shown: dict[str, list[Fingerprint]] = {role: [] for role in type_.roles}
        for one in self._held.of_plugin(key):
            if one.role in shown:  # another version of the type may have had more roles
                shown[one.role].append(self._seen(one))
        declaration = self._held.declarations.get(key)
        expected = declaration.expected if declaration else {}
        counts = {}
        for role, plural in type_.roles.items():
            counts[f"{plural}Healthy"] = sum(one.healthy for one in shown[role])
            counts[f"{plural}Expected"] = expected.get(role, len(shown[role]))
        return {
            **type_.summary(shown),
            **counts,
            **stamp_fields(self._stamps[key.resource]),
            "ID": key.id,
        }

    def _node_document(self, node: Node) -> dict[str, Any]:
        return {
            **node_document(node, _status_description(node)),
            **stamp_fields(self._stamps[node_of(node.id)]),
        }


def one_a_process(shown: Mapping[InstanceKey, Fingerprint]) -> Iterable[InstanceKey]:
    """Of the instances that share a process the one that says most of it: that it runs, else what
    was said last. Sorted by the allocation's ID and the node's."""
    best: dict[tuple[str, str], tuple[bool, int, InstanceKey]] = {}
    for key, told in shown.items():
        if told.allocation is not None:
            process = told.alloc_id, key.node_id
            standing = told.allocation.runs, told.updated, key
            best[process] = max(best.get(process, standing), standing)
    return [best[process][-1] for process in sorted(best)]


def _status_description(node: Node) -> str:
    if node.status == DOWN:
        return f"nothing heard since {format_time(node.status_since)}"
    if node.cloned_since:
        since = format_time(node.cloned_since)
        return f"two agents report as this node since {since}; is its data_dir a copy?"
    return ""


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _parts(document: Mapping[str, Any]) -> dict[str, bytes]:
    return {key: _json(value) for key, value in document.items()}


def array(values: Iterable[bytes]) -> bytes:
    """A JSON array of values that are rendered already."""
    return b"[" + b",".join(values) + b"]"


def _object(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A JSON object of members that are rendered already, in the order given."""
    return b"{" + b",".join(b'"%b":%b' % (key.encode(), value) for key, value in members) + b"}"
