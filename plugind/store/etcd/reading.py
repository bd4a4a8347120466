"""Reads a store on etcd: all of it as of one revision, and what a writer needs to know."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from plugind.errors import StoreError
from plugind.model import (
    Beat,
    Declaration,
    Forgotten,
    Instance,
    KeptSecret,
    Node,
    Run,
    Session,
    Stamp,
)
from plugind.store.base import Contents
from plugind.store.etcd.client import CALL_SECONDS, Client
from plugind.store.etcd.documents import Copy, decoded
from plugind.store.etcd.failures import GONE, REPLACED, RevisionGone
from plugind.store.etcd.keys import Current, Indexes, Keys, Root, end_of
from plugind.store.etcd.rpc_pb2 import (
    Compare,
    KeyValue,
    RangeRequest,
    RequestOp,
    TxnRequest,
)
from plugind.store.etcd.transactions import batches, get
from plugind.store.etcd.values import LOAD_SECONDS, Asides, is_aside, pack, unpack

PAGE = 1_000
"""Maximum number of keys that one call returns."""

LARGE_PAGE = 100
"""The same for documents: each may be large."""

_LOADS = 5
"""How many times the whole store is read if etcd compacts it meanwhile."""

_SCOPES_AT_ONCE = 100


class Written(msgspec.Struct, array_like=True, omit_defaults=True):
    """The value of a ``stamp`` or ``made`` key: the time, and how far the index is below that of
    the key's revision. An imported one has an index of its own instead."""

    time: int
    below: int = 0
    index: int = 0

    def at(self, revision: int, indexes: Indexes) -> int:
        return self.index or indexes.of(revision) - self.below


def packed_stamp(stamp: Written) -> bytes:
    """Return the value of a stamp. It is short, because a change may have thousands of them."""
    return pack(msgspec.msgpack.encode(stamp))


class KeptBeat(msgspec.Struct, array_like=True):
    node_id: str
    heard: int
    ttl: int
    run: str


_written = msgspec.msgpack.Decoder(Written)
_beat = msgspec.json.Decoder(KeptBeat)
_run = msgspec.json.Decoder(Run)
_current = msgspec.json.Decoder(Current)
_declaration = msgspec.json.Decoder(Declaration)
_session = msgspec.json.Decoder(Session)


def current_of(client: Client, root: Root) -> tuple[Current, KeyValue] | None:
    """Return the store's ``Current`` and the key that holds it; None if there is no store. Raise
    StoreError if another version of plugind wrote it."""
    found = client.call("Range", RangeRequest(key=root.current)).kvs
    if not found:
        return None
    try:
        return _current.decode(unpack(found[0].value)), found[0]
    except ValueError as error:
        raise StoreError(
            f"{root.current.decode()} in etcd is not of this version of plugind: {error}"
        ) from error


class Reading:
    """Reads one generation, which is in force as long as ``is_current`` holds, and does writes that
    depend on no other condition. Thread-safe."""

    def __init__(
        self, client: Client, is_current: Compare, keys: Keys, indexes: Indexes, asides: Asides
    ) -> None:
        self._client = client
        self._is_current = is_current
        self._keys = keys
        self._indexes = indexes
        self._asides = asides

    def check_current(self, found: Sequence[KeyValue] | None = None) -> None:
        """Raise StoreError if this store is no longer in force. ``found`` is what a transaction
        read of ``current``, if it did."""
        if found is None:
            found = self._client.call("Range", RangeRequest(key=self._is_current.key)).kvs
        if not found:
            raise StoreError(GONE)
        if found[0].value != self._is_current.value:
            raise StoreError(REPLACED)

    def write(self, operations: Sequence[RequestOp]) -> None:
        """Do operations that are not part of a change. Raise StoreError, also if this store is no
        longer in force."""
        request = TxnRequest(
            compare=[self._is_current], success=operations, failure=[get(self._is_current.key)]
        )
        response = self._client.call("Txn", request, LOAD_SECONDS)
        if not response.succeeded:
            self.check_current(response.responses[0].response_range.kvs)

    def head(self) -> tuple[int, int]:
        """Return the revision at which ``log/head`` was last put, and the current revision."""
        response = self._client.call("Range", RangeRequest(key=self._keys.head))
        if not response.kvs:
            self.check_current()
            raise StoreError(GONE)
        return response.kvs[0].mod_revision, response.header.revision

    def at(self, key: bytes, revision: int) -> KeyValue | None:
        """Return a key as of a revision, None if it did not exist then."""
        found = self._client.call("Range", RangeRequest(key=key, revision=revision)).kvs
        return found[0] if found else None

    def moved(self, limits: Mapping[str, int]) -> tuple[int, set[str]]:
        """Return the revision of ``log/head``, and the scopes that were written after the revision
        that is the limit of each. A scope whose limit is before the floor counts as written,
        because its key may have been deleted since."""
        head = revision = 0
        floor = 0
        moved: set[str] = set()
        for scopes in batches(sorted(limits), _SCOPES_AT_ONCE):
            keys = [self._keys.scope(scope) for scope in scopes]
            gets = [get(key, keys_only=True) for key in keys]
            request = TxnRequest(success=[get(self._keys.head), get(self._keys.floor), *gets])
            first, second, *found = (
                each.response_range.kvs
                for each in self._client.call("Txn", request, LOAD_SECONDS).responses
            )
            if not (first and second):
                self.check_current()
                raise StoreError(GONE)
            head = head or first[0].mod_revision  # a later one would hide writes in between
            floor = int(second[0].value)
            for scope, held in zip(scopes, found, strict=True):
                if held and held[0].mod_revision > limits[scope]:
                    moved.add(scope)
        revision = self._indexes.revision_of(floor)
        return head, moved | {scope for scope, limit in limits.items() if limit < revision}

    def documents(self, node_ids: Collection[str]) -> dict[str, Copy]:
        """Return the current documents of nodes."""
        found: dict[str, Copy] = {}
        for some in batches(sorted(node_ids), 16):
            request = TxnRequest(success=[get(self._keys.doc(node_id)) for node_id in some])
            response = self._client.call("Txn", request, LOAD_SECONDS)
            for node_id, each in zip(some, response.responses, strict=True):
                kvs = each.response_range.kvs
                value = kvs[0].value if kvs else b""
                found[node_id] = Copy(
                    response.header.revision,
                    self._asides.whole(value, response.header.revision),
                    value if is_aside(value) else b"",
                )
        return found

    def pages(
        self,
        prefix: bytes,
        revision: int = 0,
        *,
        keys_only: bool = False,
        newer: int = 0,
        older: int = 0,
    ) -> Iterator[list[KeyValue]]:
        """Yield the keys with a prefix, in their order, a page at a time, all as of one revision.
        With ``newer`` or ``older``, yield only those last put at that revision or later, or at that
        revision or earlier, all in one page: etcd would scan all keys for each page of them."""
        start, end = prefix, end_of(prefix)
        is_selection = bool(newer or older)
        size = LARGE_PAGE if prefix == self._keys.docs and not keys_only else PAGE
        while True:
            request = RangeRequest(
                key=start,
                range_end=end,
                limit=0 if is_selection else size,
                revision=revision,
                keys_only=keys_only,
                min_mod_revision=newer,
                max_mod_revision=older,
            )
            seconds = LOAD_SECONDS if revision or is_selection else CALL_SECONDS
            response = self._client.call("Range", request, seconds)
            if response.kvs:
                yield list(response.kvs)
            if not response.more or not response.kvs:
                return
            start, revision = response.kvs[-1].key + b"\0", revision or response.header.revision

    def every(self, prefix: bytes, revision: int = 0, *, newer: int = 0) -> Iterator[KeyValue]:
        """Yield the keys with a prefix, in their order."""
        for page in self.pages(prefix, revision, newer=newer):
            yield from page

    def contents(self) -> tuple[Contents, int]:
        """Return everything as of one revision, and that revision."""
        for number in range(_LOADS):
            head, revision = self.head()
            try:
                return self._contents(head, revision), revision
            except RevisionGone:
                if number == _LOADS - 1:
                    raise
        raise AssertionError("the last try returns or raises")

    def _contents(self, head: int, revision: int) -> Contents:
        index = self._indexes.of(head)
        nodes: list[Node] = []
        instances: list[Instance] = []
        forgotten: list[Forgotten] = []
        secrets: list[KeptSecret] = []
        for each in self.every(self._keys.docs, revision):
            document = decoded(self._asides.whole(each.value, revision))
            nodes += [document.node] if document.node else []
            instances += (each.instance() for each in document.instances)
            forgotten += document.forgotten
            secrets += [document.kept_secret] if document.kept_secret else []
        there = {node.id for node in nodes}
        beats: dict[str, Beat] = {}
        for node_id, beat in self.beats(revision)[1]:
            held = beats.get(node_id)
            if node_id in there and (held is None or held.heard <= beat.heard):
                beats[node_id] = beat
        return Contents(
            index,
            nodes,
            instances,
            self._values(self._keys.declared, revision, _declaration),
            self._stamps(revision),
            forgotten,
            beats,
            secrets,
            self.runs(revision),
            self._values(self._keys.sessions, revision, _session),
        )

    def _values(self, prefix: bytes, revision: int, decoder: Any) -> list[Any]:
        return [decoder.decode(unpack(each.value)) for each in self.every(prefix, revision)]

    def _stamps(self, revision: int) -> dict[str, Stamp]:
        indexes, keys = self._indexes, self._keys
        made = {each.key: each for each in self.every(keys.mades, revision)}
        stamps: dict[str, Stamp] = {}
        for each in self.every(keys.stamps, revision):
            resource = each.key.removeprefix(keys.stamps).decode()
            first = made.get(keys.made(resource), each)
            created, changed = (_written.decode(unpack(one.value)) for one in (first, each))
            stamps[resource] = Stamp(
                created.at(first.mod_revision, indexes),
                changed.at(each.mod_revision, indexes),
                created.time,
                changed.time,
            )
        return stamps

    def runs(self, revision: int = 0) -> list[Run]:
        """Return the runs in the order of their starts."""
        found: list[Run] = self._values(self._keys.runs, revision, _run)
        return sorted(found, key=lambda run: (run.start, run.id))

    def beats(self, revision: int = 0, after: int = 0) -> tuple[int, list[tuple[str, Beat]]]:
        """Return the beats that were kept after the revision ``after``, in their order, and before
        them the revision of the last one (``after`` if there are none)."""
        found = sorted(
            self.every(self._keys.beats, revision, newer=after and after + 1),
            key=lambda each: each.mod_revision,
        )
        beats = [_beat.decode(unpack(each.value)) for each in found]
        last = found[-1].mod_revision if found else after
        return last, [(one.node_id, Beat(one.heard, one.ttl, one.run)) for one in beats]
