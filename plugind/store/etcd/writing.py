"""Makes the transactions that commit changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plugind.model import Change, Step
from plugind.store.etcd.documents import Copy, nodes_of, rewritten
from plugind.store.etcd.keys import Indexes, Keys, number
from plugind.store.etcd.reading import Written as Stamped
from plugind.store.etcd.reading import packed_stamp
from plugind.store.etcd.records import history_value, offset, record_value
from plugind.store.etcd.rpc_pb2 import Compare, RequestOp, TxnRequest
from plugind.store.etcd.transactions import (
    REQUEST_BYTES,
    absent,
    at_revision,
    below,
    delete,
    delete_all,
    get,
    not_after,
    not_before,
    packed,
    put,
    within,
)
from plugind.store.etcd.values import Asides, packed_json

_ASIDE_FROM = 256
"""Values of fewer bytes stay in the transaction, however large it is."""

_POINTER_BYTES = 40
"""About how many bytes the pointer to a value that was put aside takes."""


@dataclass(frozen=True)
class Written:
    """A transaction, and the documents that it puts: the whole value of each, and the pointer to it
    if it was put aside, else b""."""

    request: TxnRequest
    documents: Mapping[str, tuple[bytes, bytes]]


class Writing:
    """Makes the transactions of one generation, which are done only if ``is_current`` holds.
    ``floor(changes)`` returns the index that the log need not reach back beyond once the changes
    are in it; 0 if its beginning can stay where it is."""

    def __init__(
        self,
        is_current: Compare,
        keys: Keys,
        indexes: Indexes,
        asides: Asides,
        floor: Callable[[Sequence[Change]], int],
    ) -> None:
        self._is_current = is_current
        self._keys = keys
        self._indexes = indexes
        self._asides = asides
        self._floor = floor

    def transaction(
        self,
        by: str,
        changes: Sequence[Change],
        *,
        limits: Mapping[str, int],
        documents: Mapping[str, Copy],
        head: int,
        followed: int,
        lease: int,
    ) -> Written:
        """Return the transaction that commits changes as the attempt ``by`` ("ID/NUMBER").

        ``limits`` maps each scope that the changes read to the last revision at which it may be
        written; ``documents`` are those before the changes. If ``head`` is not 0, all of that was
        checked when ``log/head`` had that revision. ``followed`` is a revision that ``log/head``
        has had: if it is lower now, etcd was set back. A transaction whose conditions fail reads
        ``current``, the key of the attempt that was done, and ``log/head``.
        """
        keys = self._keys
        name, _, attempt = by.partition("/")
        own = keys.ids + name.encode()
        values = {
            keys.doc(node_id): rewritten(copy.packed, node_id, changes)
            for node_id, copy in documents.items()
        }
        whole = dict(values)
        values[keys.head] = record_value(by, changes)
        if (noted := history_value(changes)) is not None:
            values[
                keys.histories + f"{max(each.time for each in changes):020d}-{name}".encode()
            ] = noted
        rest = [
            put(own, attempt.encode(), lease),
            *self._floor_moved(changes),
            *self._scopes(changes),
            *self._steps(changes),
            *self._stamps(changes),
            *self._removals(changes, documents),
        ]
        rest += self._set_aside(values, sum(each.ByteSize() + 8 for each in rest))
        operations = [put(key, value) if value else delete(key) for key, value in values.items()]
        compare = [
            self._is_current,
            absent(own),
            not_before(keys.head, followed),
            *self._conditions(limits, documents, head),
        ]
        request = TxnRequest(
            compare=compare,
            success=packed([*rest, *operations], len(compare)),
            failure=[get(self._is_current.key), get(own), get(keys.head, keys_only=True)],
        )
        kept = {
            node_id: (whole[keys.doc(node_id)], self._pointer(whole, values, keys.doc(node_id)))
            for node_id in documents
        }
        return Written(request, kept)

    def _pointer(
        self, whole: Mapping[bytes, bytes], values: Mapping[bytes, bytes], key: bytes
    ) -> bytes:
        return values[key] if values[key] != whole[key] else b""

    def _conditions(
        self, limits: Mapping[str, int], documents: Mapping[str, Copy], head: int
    ) -> list[Compare]:
        """Return the conditions that no scope or document has been written since it was read. The
        floor must not be beyond any of those revisions: the keys of scopes that were written before
        the floor may have been deleted."""
        keys = self._keys
        found: list[Compare] = []
        if known := [*limits.values(), *(copy.revision for copy in documents.values())]:
            oldest = self._indexes.of(min(known))
            found.append(below(keys.floor, number(oldest + 1)))
        after = {keys.scope(scope): limit for scope, limit in limits.items()}
        if head:
            found.append(at_revision(keys.head, head))
            return found
        for node_id, copy in documents.items():
            scope = keys.scope(f"node/{node_id}")
            after[scope] = min(after.get(scope, copy.revision), copy.revision)
        return [*found, *(not_after(key, revision) for key, revision in after.items())]

    def _floor_moved(self, changes: Sequence[Change]) -> list[RequestOp]:
        if not (floor := self._floor(changes)):
            return []
        key, value = self._keys.floor, number(floor)
        return [within([below(key, value)], [put(key, value)])]

    def _scopes(self, changes: Iterable[Change]) -> list[RequestOp]:
        scopes = {scope for change in changes for scope in change.writes}
        # The scope of a node says whether a copy of its document is current.
        scopes |= {f"node/{node_id}" for change in changes for node_id in nodes_of(change)}
        return [put(self._keys.scope(scope), b"") for scope in sorted(scopes)]

    def _steps(self, changes: Iterable[Change]) -> list[RequestOp]:
        keys = self._keys
        last: dict[bytes, Any] = {}
        for change in changes:
            _take(last, change.declarations, lambda one: keys.declaration(*one.key))
            _take(last, change.sessions, lambda one: keys.session(one.key))
        return [
            delete(key) if after is None else put(key, packed_json(after))
            for key, after in last.items()
        ]

    def _stamps(self, changes: Sequence[Change]) -> list[RequestOp]:
        """Return the operations that record when resources were created and changed. A resource
        counts as created now only if it does not exist, or one of the changes has removed it."""
        created: dict[str, Stamped] = {}
        changed: dict[str, Stamped | None] = {}
        removed: set[str] = set()
        for place, change in enumerate(changes):
            stamped = Stamped(change.time, offset(place, len(changes)))
            for resource in change.touched - change.removed:
                created.setdefault(resource, stamped)
                changed[resource] = stamped
            for resource in change.removed:
                created.pop(resource, None)
                changed[resource] = None
                removed.add(resource)
        found: list[RequestOp] = []
        for resource, stamp in sorted(changed.items()):
            key, made = self._keys.stamp(resource), self._keys.made(resource)
            if stamp is None:
                found += [delete(key), delete(made)]
                continue
            first = put(made, packed_stamp(created[resource]))
            found.append(put(key, packed_stamp(stamp)))
            found.append(first if resource in removed else within([absent(made)], [first]))
        return found

    def _removals(
        self, changes: Iterable[Change], documents: Mapping[str, Copy]
    ) -> list[RequestOp]:
        gone = {step.some.id for change in changes for step in change.nodes if step.after is None}
        found = [delete_all(self._keys.beats_of(node_id)) for node_id in sorted(gone)]
        for copy in documents.values():
            found += self._asides.removal(copy.pointer)
        return found

    def _set_aside(self, values: dict[bytes, bytes], size: int) -> list[RequestOp]:
        """Put the largest values aside until the rest fits into a transaction. Return the
        operations that mark those of the log and history with the revision of the transaction:
        their parts were put before it, so upkeep would take them to be older than the record that
        needs them."""
        total = size + sum(len(key) + len(value) + 16 for key, value in values.items())
        keys: dict[str, list[bytes]] = {"doc": [], "log": []}
        marks: list[RequestOp] = []
        for key in sorted(values, key=lambda key: -len(values[key])):
            if total <= REQUEST_BYTES or len(values[key]) < _ASIDE_FROM:
                break
            keys["doc" if key.startswith(self._keys.docs) else "log"].append(key)
            total -= len(values[key]) - _POINTER_BYTES
        for kind, some in keys.items():
            pointers = self._asides.put(kind, [values[key] for key in some])
            values.update(zip(some, pointers, strict=True))
            marks += [self._asides.mark(each) for each in pointers if kind == "log"]
        return marks


def _take(last: dict[bytes, Any], steps: Iterable[Step[Any]], key: Callable[[Any], bytes]) -> None:
    for step in steps:
        last[key(step.some)] = step.after
