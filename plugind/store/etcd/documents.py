"""A node and everything kept under its ID, as one value, and the copies of it that writers keep."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from plugind.model import Change, Forgotten, InstanceKey, KeptSecret, Node
from plugind.store.coding import WrittenInstance
from plugind.store.etcd.values import pack, unpack

KEPT_BYTES = 64 * 2**20
"""Maximum bytes of node documents that a writer keeps, so that it need not read them first."""


class Document(msgspec.Struct):
    """Everything kept under a node ID. Instances stay in their JSON form, so that a writer need not
    build and pack ``Instance`` objects."""

    node: Node | None = None
    instances: list[WrittenInstance] = []
    forgotten: list[Forgotten] = []
    kept_secret: KeptSecret | None = None

    def __bool__(self) -> bool:
        return bool(self.node or self.instances or self.forgotten or self.kept_secret)


_decoder = msgspec.json.Decoder(Document)


def decoded(packed: bytes) -> Document:
    """Decode the document in a whole value, not one that was put aside."""
    return _decoder.decode(unpack(packed))


class Copy(NamedTuple):
    """A document as of a revision: its value (b"" if there is none) and, if that was put aside, the
    pointer that etcd has in its place."""

    revision: int
    packed: bytes
    pointer: bytes = b""


class Copies:
    """The documents that a writer has read or written. Thread-safe.

    A copy counts as current up to the newest revision that was followed, until a change of its node
    by another writer is seen.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: OrderedDict[str, Copy] = OrderedDict()
        self._size = 0
        self._followed = 0

    def get(self, node_id: str) -> Copy | None:
        """Return a copy with the revision up to which it is known to be current, or None."""
        with self._lock:
            found = self._copies.get(node_id)
            if found is None:
                return None
            self._copies.move_to_end(node_id)
            return found._replace(revision=max(found.revision, self._followed))

    def keep(self, node_id: str, copy: Copy) -> None:
        """Keep a copy, unless a later change of its node may have been followed already: that
        change would not be noticed again."""
        with self._lock:
            self._drop(node_id)
            if copy.revision < self._followed:
                return
            self._copies[node_id] = copy
            self._size += len(copy.packed)
            while self._size > KEPT_BYTES and len(self._copies) > 1:
                self._drop(next(iter(self._copies)))

    def drop(self, node_ids: Iterable[str]) -> None:
        with self._lock:
            for node_id in node_ids:
                self._drop(node_id)

    def follow(self, revision: int, node_ids: Iterable[str]) -> None:
        """Note that nodes were written at a revision, and that everything before it is known."""
        with self._lock:
            for node_id in node_ids:
                held = self._copies.get(node_id)
                if held is not None and held.revision < revision:
                    self._drop(node_id)
            self._followed = max(self._followed, revision)

    def clear(self, revision: int) -> None:
        """Forget all copies, because changes up to a revision may have been missed."""
        with self._lock:
            self._copies.clear()
            self._size = 0
            self._followed = revision

    def _drop(self, node_id: str) -> None:
        if (held := self._copies.pop(node_id, None)) is not None:
            self._size -= len(held.packed)


def nodes_of(change: Change) -> set[str]:
    """Return the IDs of the nodes whose documents a change writes."""
    return {
        *(step.some.id for step in change.nodes),
        *(step.some.key.node_id for step in change.instances),
        *(step.some.key.node_id for step in change.forgotten),
        *(step.some.node_id for step in change.kept_secrets),
    }


def rewritten(packed: bytes, node_id: str, changes: Sequence[Change]) -> bytes:
    """Return the value of a node's document after changes, b"" if nothing is left of it."""
    document = decoded(packed) if packed else Document()
    instances: dict[InstanceKey, Any] = {each.key: each for each in document.instances}
    forgotten: dict[InstanceKey, Any] = {each.key: each for each in document.forgotten}
    for change in changes:
        for node in change.nodes:
            if node.some.id == node_id:
                document.node = node.after
        for secret in change.kept_secrets:
            if secret.some.node_id == node_id:
                document.kept_secret = secret.after
        _step(instances, node_id, change.instances, WrittenInstance.of)
        _step(forgotten, node_id, change.forgotten)
    document.instances = list(instances.values())
    document.forgotten = list(forgotten.values())
    return pack(msgspec.json.encode(document)) if document else b""


def _step(
    held: dict[InstanceKey, Any],
    node_id: str,
    steps: Iterable[Any],
    written: Callable[[Any], Any] = lambda value: value,
) -> None:
    for step in steps:
        key = step.some.key
        if key.node_id != node_id:
            continue
        if step.after is None:
            held.pop(key, None)
        else:
            held[key] = written(step.after)
