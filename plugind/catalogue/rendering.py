"""Turns a state into the bytes of answers, each made once and kept until it changes.

An instance is rendered when it is first read after a change; a body joins its instances' bytes, a
list its rows' bytes. So the cost of a read depends on what changed, not on the size of the fleet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

import orjson
from marshmallow import Schema

from plugind.catalogue.columns import Columns, Row
from plugind.catalogue.fragments import array, fragment, fragments, object_
from plugind.catalogue.kept import Kept
from plugind.catalogue.typed import About, Made, Typed
from plugind.model import (
    DOWN,
    NODES,
    Change,
    Fingerprint,
    InstanceKey,
    Node,
    PluginKey,
    Stamp,
    node_id_of,
    node_of,
    plugins_of,
    seen,
)
from plugind.model.times import time_text
from plugind.schemas.allocations import (
    AllocationBodySchema,
    AllocationStubSchema,
    NodeAllocationSchema,
    allocation_body,
    allocation_document,
)
from plugind.schemas.dumping import Dumper
from plugind.schemas.nodes import NodeSchema, Wanted, node_document, row_schema
from plugind.schemas.plugins import PluginSchemas, fingerprint_document, node_keys, stamp_fields
from plugind.state import State
from plugind.types.guard import Mark

Types = frozenset[str] | None
"""The plugin types whose instances are meant; None for all."""

_STUB = Dumper(AllocationStubSchema())
_NODE_ALLOCATION = NodeAllocationSchema()
_ALLOCATION = AllocationBodySchema()
_NODE = NodeSchema()
# The fields of a node that a read of it shows just as they are stored.
_AS_STORED = {"Attributes": attrgetter("attributes"), "Meta": attrgetter("meta")}
_NODE_ROW = {wanted: Dumper(row_schema(wanted)) for wanted in Wanted.all()}


class Listing:
    """A list: its rows by ID, in the order of their IDs, and all of them as one JSON array.

    ``len`` is the length of the array in bytes; the array itself is made when it is first asked
    for. ``mark`` is as in ``Made``, and ``columns`` are shared by the versions of the list.
    """

    __slots__ = ("_body", "_size", "columns", "mark", "rows")

    def __init__(
        self, rows: Iterable[Row], mark: Mark | None = None, columns: Columns | None = None
    ) -> None:
        self.rows = tuple(rows)
        self.mark = mark
        self.columns = columns or Columns()
        self._body: bytes | None = None
        self._size = sum(len(row) for _, row in self.rows) + max(len(self.rows) - 1, 0) + len("[]")

    def __len__(self) -> int:
        return self._size

    @property
    def body(self) -> bytes:
        """Return the list as JSON."""
        if self._body is None:
            self._body = array(row for _, row in self.rows)
        return self._body


M = TypeVar("M", Listing, Made)


class Caches:
    """The renderings of each kind, with the objects of the state that they were rendered from: the
    stamp of a resource, or an instance and its node."""

    def __init__(self) -> None:
        self.bodies: Kept[str, Made] = Kept()
        self.nodes: Kept[str, bytes] = Kept()
        self.lists: Kept[str, Listing] = Kept()
        self.instances: Kept[InstanceKey, bytes] = Kept()
        self.stubs: Kept[InstanceKey, bytes] = Kept()
        self.allocations: Kept[str, Listing] = Kept()
        self.node_rows: dict[Wanted, Kept[str, bytes]] = {each: Kept() for each in Wanted.all()}
        self.node_lists: Kept[Wanted, Listing] = Kept()
        self.stub_lists: Kept[Types, Listing] = Kept()
        self.columns: defaultdict[str | Wanted, Columns] = defaultdict(Columns)

    def drop(self, state: State, change: Change) -> None:
        """Free the memory of what a change replaces; ``state`` is one before the change."""
        replaced = [step.some.key for step in change.instances]
        for node in change.nodes:
            replaced += state.on_node(node.some.id)
        for instances in (self.instances, self.stubs):
            instances.drop(replaced)
        for resources in (self.bodies, self.nodes, self.lists, self.allocations):
            resources.drop(change.touched)
        for rows in self.node_rows.values():
            rows.drop(filter(None, map(node_id_of, change.touched)))
        if NODES in change.touched:
            self.node_lists.clear()
            self.stub_lists.clear()

    def clear(self) -> None:
        """Free the memory of everything."""
        others = {**vars(self)}
        for kept in (*others.pop("node_rows").values(), *others.values()):
            kept.clear()


class Renderer:
    """Renders the contents of a state. The results are kept in ``caches``, unless ``is_current()``
    is false afterwards: then there is a newer state, which has no use for them."""

    def __init__(
        self,
        state: State,
        caches: Caches,
        schemas: Mapping[str, PluginSchemas],
        typed: Mapping[str, Typed],
        is_current: Callable[[], bool],
    ) -> None:
        self._state = state
        self._caches = caches
        self._schemas = schemas
        self._typed = typed
        self._is_current = is_current

    def plugins(self, type_: str) -> Listing:
        """Return the list of a type's plugins, sorted by ID."""

        def make() -> Listing:
            keys = [PluginKey(type_, id_) for id_ in self._state.ids_of(type_)]
            stamps = {key: self._state.stamps[key.resource] for key in keys}
            rows, mark = self._typed[type_].rows(stamps, self._about)
            named = ((key.id, row) for key, row in zip(keys, rows, strict=True))
            return Listing(named, mark, self._caches.columns[type_])

        return self._well_made(self._caches.lists, type_, plugins_of(type_), make)

    def nodes(self, wanted: Wanted) -> Listing:
        """Return the list of nodes, sorted by ID."""

        def make() -> Listing:
            ids = self._state.node_ids
            rows = ((each, self._node_row(self._state.nodes[each], wanted)) for each in ids)
            return Listing(rows, columns=self._caches.columns[wanted])

        return self._caches.node_lists.get(wanted, self._stamp(NODES), make, self._is_current)

    def plugin(self, key: PluginKey) -> Made:
        """Return one plugin with all its instances."""

        def join(fields: Mapping[str, bytes]) -> bytes:
            shown = {one: self._seen(one) for one in self._state.of_plugin(key)}
            processes = array(map(self._stub, one_a_process(shown)))
            return self._joined(key, {**fields, "Allocations": processes})

        def make() -> Made:
            stamp = self._state.stamps[key.resource]
            return self._typed[key.type].body(key, stamp, self._about, join)

        return self._well_made(self._caches.bodies, key.type, key.resource, make)

    def plugin_alone(self, key: PluginKey) -> bytes:
        """Return one plugin with all its instances and no processes, in the shape of its type's
        schemas (not in that of Nomad's API document)."""

        def join(fields: Mapping[str, bytes]) -> bytes:
            return self._joined(key, {**fields, "Allocations": b"[]"})

        stamp = self._state.stamps[key.resource]
        return join(self._typed[key.type].fields(key, stamp, self._about)[0])

    def _joined(self, key: PluginKey, parts: dict[str, bytes]) -> bytes:
        """Return the body of a plugin, made of its instances and the other ``parts``."""
        keys = self._state.of_plugin(key)
        for role, plural in self._schemas[key.type].type.roles.items():
            mine = (one for one in keys if one.role == role)
            parts[plural] = object_((one.node_id, self._instance(one)) for one in mine)
        return object_(sorted(parts.items()))

    def _well_made(self, kept: Kept[str, M], type_: str, resource: str, make: Callable[[], M]) -> M:
        """Return the kept rendering of a resource.

        If the type's code failed on it, the rendering is kept only while the code would fail again.
        """
        stamp = self._stamp(resource)
        found = kept.get(resource, stamp, make, self._is_current)
        if found.mark is None or self._typed[type_].guard.is_current(found.mark):
            return found
        kept.drop([resource])
        return kept.get(resource, stamp, make, self._is_current)

    def node(self, node: Node) -> bytes:
        """Return one node with all its instances."""

        def make() -> bytes:
            parts = fragments(_NODE.dump(self._node_document(node)))
            keys = sorted(self._state.on_node(node.id))
            for schemas in self._schemas.values():
                type_ = schemas.type
                for role, name in node_keys(type_).items():
                    mine = [key for key in keys if (key.type, key.role) == (type_.name, role)]
                    parts[name] = object_((key.id, self._instance(key)) for key in mine)
            return object_(sorted(parts.items()))

        resource = node_of(node.id)
        return self._caches.nodes.get(resource, self._stamp(resource), make, self._is_current)

    def node_field(self, node: Node, name: str) -> Any:
        """Return the value of one field of a node, as ``node`` renders it, and render only that."""
        if name in _AS_STORED:
            return _AS_STORED[name](node)
        for schemas in self._schemas.values():
            if name in schemas.node_maps.fields:
                type_ = schemas.type
                role = next(role for role, key in node_keys(type_).items() if key == name)
                return {
                    key.id: orjson.loads(self._instance(key))
                    for key in self._state.on_node(node.id)
                    if (key.type, key.role) == (type_.name, role)
                }
        return _node_part(name).dump(self._node_document(node))[name]

    def allocations(self, node: Node) -> Listing:
        """Return the processes behind the instances of a node."""

        def make() -> Listing:
            shown = {key: self._seen(key) for key in self._state.on_node(node.id)}
            return Listing(
                (
                    shown[key].alloc_id,
                    fragment(_NODE_ALLOCATION.dump(allocation_document(key, node, shown[key]))),
                )
                for key in one_a_process(shown)
            )

        resource = node_of(node.id)
        return self._caches.allocations.get(resource, self._stamp(resource), make, self._is_current)

    def stubs(self, types: Types) -> Listing:
        """Return the processes behind all instances of some plugin types, sorted by their IDs."""

        def make() -> Listing:
            shown = {
                key: self._seen(key)
                for node_id in self._state.nodes
                for key in self._state.on_node(node_id)
                if types is None or key.type in types
            }
            return Listing((shown[key].alloc_id, self._stub(key)) for key in one_a_process(shown))

        return self._caches.stub_lists.get(types, self._stamp(NODES), make, self._is_current)

    def allocation(self, alloc_id: str, types: Types) -> tuple[Node, bytes] | None:
        """Return a process behind instances of some plugin types, and its node; None if no such
        instance names it. If several nodes name the same process, the one that last reported it as
        running counts."""
        shown = {
            key: self._seen(key)
            for key in self._state.of_allocation(alloc_id)
            if types is None or key.type in types
        }
        key = max(one_a_process(shown), key=lambda one: _standing(one, shown[one]), default=None)
        if key is None:
            return None
        node = self._state.nodes[key.node_id]
        return node, fragment(_ALLOCATION.dump(allocation_body(key, node, shown[key])))

    def _stub(self, key: InstanceKey) -> bytes:
        instance = self._state.on_node(key.node_id)[key]
        node = self._state.nodes[key.node_id]

        def make() -> bytes:
            return fragment(_STUB(allocation_document(key, node, seen(instance, node))))

        return self._caches.stubs.get(key, instance, make, self._is_current, node)

    def _node_row(self, node: Node, wanted: Wanted) -> bytes:
        def make() -> bytes:
            return fragment(_NODE_ROW[wanted](self._node_document(node)))

        stamp, kept = self._stamp(node_of(node.id)), self._caches.node_rows[wanted]
        return kept.get(node.id, stamp, make, self._is_current)

    def _instance(self, key: InstanceKey) -> bytes:
        instance = self._state.on_node(key.node_id)[key]
        node = self._state.nodes[key.node_id]

        def make() -> bytes:
            return fragment(fingerprint_document(key.id, seen(instance, node)))

        return self._caches.instances.get(key, instance, make, self._is_current, node)

    def _stamp(self, resource: str) -> Stamp | None:
        return self._state.stamps.get(resource)

    def _seen(self, key: InstanceKey) -> Fingerprint:
        return seen(self._state.on_node(key.node_id)[key], self._state.nodes[key.node_id])

    def counts(self, key: PluginKey) -> dict[str, tuple[int, int]]:
        """Return how many instances of a plugin are healthy, and how many are expected, by the
        plural of their role."""
        return self._counts(key, self._shown(key))

    def _shown(self, key: PluginKey) -> dict[str, list[Fingerprint]]:
        """Return the fingerprints of a plugin by role."""
        shown: dict[str, list[Fingerprint]] = {
            role: [] for role in self._schemas[key.type].type.roles
        }
        nodes, by_node = self._state.nodes, self._state.by_node
        for one in self._state.of_plugin(key):
            node_id, _, _, role = one
            if role in shown:  # another version of the type may have had more roles
                shown[role].append(seen(by_node[node_id][one], nodes[node_id]))
        return shown

    def _counts(
        self, key: PluginKey, shown: Mapping[str, list[Fingerprint]]
    ) -> dict[str, tuple[int, int]]:
        """Return the healthy and the expected number of instances, by the plural of the role. The
        expected number is the declared one, or else that of the existing instances."""
        declaration = self._state.declarations.get(key)
        expected = declaration.expected if declaration else {}
        return {
            plural: (sum(one.healthy for one in shown[role]), expected.get(role, len(shown[role])))
            for role, plural in self._schemas[key.type].type.roles.items()
        }

    def _about(self, key: PluginKey) -> About:
        """Return the fields and fingerprints that the core has of a plugin."""
        shown = self._shown(key)
        counts = {}
        for plural, (healthy, expected) in self._counts(key, shown).items():
            counts[f"{plural}Healthy"], counts[f"{plural}Expected"] = healthy, expected
        stamp = self._state.stamps[key.resource]
        return About({"ID": key.id, **counts, **stamp_fields(stamp)}, shown)

    def _node_document(self, node: Node) -> dict[str, Any]:
        description = ""
        if node.status == DOWN:
            description = f"nothing heard since {time_text(node.heard)}"
        elif node.cloned_since:
            since = time_text(node.cloned_since)
            description = f"two agents report as this node since {since}; is its data_dir a copy?"
        return {
            **node_document(node, description),
            **stamp_fields(self._state.stamps[node_of(node.id)]),
        }


@cache
def _node_part(name: str) -> Schema:
    """Return the schema of one field of a node, by its name on the wire."""
    (attribute,) = (
        each for each, field in _NODE.dump_fields.items() if (field.data_key or each) == name
    )
    return NodeSchema(only=(attribute,))


def one_a_process(shown: Mapping[InstanceKey, Fingerprint]) -> Iterable[InstanceKey]:
    """Return one instance for each process, sorted by the allocation's ID and the node's.

    Among the instances that share a process, one that says that the process runs comes first, and
    then the one that was updated last.
    """
    best: dict[tuple[str, str], tuple[bool, int, InstanceKey]] = {}
    for key, fingerprint in shown.items():
        if fingerprint.allocation is not None:
            process = fingerprint.alloc_id, key.node_id
            standing = _standing(key, fingerprint)
            best[process] = max(best.get(process, standing), standing)
    return [best[process][-1] for process in sorted(best)]


def _standing(key: InstanceKey, shown: Fingerprint) -> tuple[bool, int, InstanceKey]:
    """Return the key that compares instances of one process: running first, then the newest."""
    return bool(shown.allocation and shown.allocation.runs), shown.updated, key
