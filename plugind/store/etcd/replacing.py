"""Checks and exports a store on etcd while servers run, and replaces it while none does.

What is imported is written beside what is there, and takes its place in one transaction, on the
condition that no server runs. So an import that fails on its way has changed nothing.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from plugind.errors import StoreError
from plugind.model import HistoryQuery, Stamp, StoredTransition, is_list
from plugind.model.changes import HISTORY_LIMIT
from plugind.store import exporting
from plugind.store.base import FIRST_INDEX, Contents, Progress, Restored, Summary
from plugind.store.derived_history import FILE_NAME, DerivedHistory
from plugind.store.etcd.client import Client
from plugind.store.etcd.documents import Document
from plugind.store.etcd.histories import stored
from plugind.store.etcd.keys import GENERATION, Current, Indexes, Keys, Root, new_generation, number
from plugind.store.etcd.reading import KeptBeat, Reading, Written, current_of, packed_stamp
from plugind.store.etcd.records import imported_value, record_value
from plugind.store.etcd.rpc_pb2 import (
    Compare,
    DeleteRangeRequest,
    RangeRequest,
    RequestOp,
    TxnRequest,
)
from plugind.store.etcd.settings import EtcdSettings
from plugind.store.etcd.transactions import (
    REQUEST_BYTES,
    absent,
    at_revision,
    batches,
    none_with,
    put,
)
from plugind.store.etcd.values import LOAD_SECONDS, Asides, packed_json
from plugind.store.soundness import faults
from plugind.store.sqlite.maintenance import new_file

SCHEMA = 1
"""The version of the layout in etcd."""

LEAP = 2**40
"""Beyond the export's index, where nobody can say which indexes clients have seen since."""

_ROWS_AT_ONCE = 500
_PUTS_AT_ONCE = 100


@dataclass(frozen=True)
class _There:
    """A store that is there: what it began with, and how it is read."""

    current: Current
    revision: int
    reading: Reading
    asides: Asides
    keys: Keys
    indexes: Indexes


@contextmanager
def _connected(settings: EtcdSettings) -> Iterator[tuple[Client, Root]]:
    client = Client(settings or EtcdSettings())
    try:
        yield client, Root((settings or EtcdSettings()).prefix)
    finally:
        client.close()


def _there(client: Client, root: Root) -> _There | None:
    found = current_of(client, root)
    if found is None:
        return None
    current, revision = found
    keys = Keys(root.name, current.generation)
    indexes = Indexes(current.index, revision, current.seq)
    asides = Asides(client, keys)
    reading = Reading(client, root, keys, indexes, asides)
    return _There(current, revision, reading, asides, keys, indexes)


def _existing(client: Client, root: Root) -> _There:
    found = _there(client, root)
    if found is None:
        raise StoreError(
            f"etcd has no store of plugind below {root.name}: look at prefix, or start a server"
        )
    return found


def check(settings: EtcdSettings) -> Summary:
    """Read all that the store has. Raise StoreError for contradictions in it."""
    with _connected(settings) as (client, root):
        contents, _ = _existing(client, root).reading.contents()
    if fault := next(faults(contents), ""):
        raise StoreError(f"the store below {settings.prefix} in etcd is damaged: {fault}")
    return Summary.of(SCHEMA, contents)


def export(settings: EtcdSettings, target: Path, progress: Progress) -> Summary:
    """Write what the store holds, as of one moment, to a new file of JSON lines."""
    with (
        new_file(target) as new,
        _connected(settings) as (client, root),
        tempfile.TemporaryDirectory(prefix=".plugind-", dir=target.parent) as folder,
    ):
        there = _existing(client, root)
        contents, revision = there.reading.contents()
        rows = stored(there.reading, there.asides, there.keys, there.indexes, revision)
        history = DerivedHistory(Path(folder) / FILE_NAME, there.current.identity)
        with closing(history):
            for batch in batches(rows, _ROWS_AT_ONCE):
                history.append(batch, 0)
            count = sum(1 for _ in _oldest_first(history))
            identity = there.current.identity
            new.unlink(missing_ok=True)
            exporting.write(new, identity, contents, _oldest_first(history), count, progress)
    return Summary.of(SCHEMA, contents)


def _oldest_first(history: DerivedHistory) -> Iterator[StoredTransition]:
    query = HistoryQuery(after=0, limit=HISTORY_LIMIT)
    while found := history.select(query):
        yield from found
        query = replace(query, after=found[-1].seq)


def import_(
    settings: EtcdSettings, source: Path, lists: Collection[str], progress: Progress
) -> Restored:
    """Put an export in the place of the store. Nothing is replaced before all of it was read and
    found sound."""
    history = _Imported()
    found = exporting.read(source, history.add, progress)
    history.flush()
    with _connected(settings) as (client, root):
        _refuse_servers(client, root)
        return _replace(client, root, found, history, lists)


class _Imported:
    """The transitions of an export, packed."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.last = 0
        self._waiting: list[StoredTransition] = []

    def add(self, one: StoredTransition) -> None:
        self._waiting.append(one)
        self.last = one.seq
        if len(self._waiting) == _ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            self.values.append(imported_value(self._waiting))
            self._waiting.clear()


def _refuse_servers(client: Client, root: Root) -> None:
    end = root.servers[:-1] + b"0"
    found = client.call("Range", RangeRequest(key=root.servers, range_end=end)).kvs
    if found:
        names = ", ".join(sorted(each.value.decode(errors="replace") for each in found))
        raise StoreError(
            f"the store in etcd is in use by {names}: stop every server first; one that was killed "
            "counts for half a minute more"
        )


def _replace(
    client: Client, root: Root, found: Contents, history: _Imported, lists: Collection[str]
) -> Restored:
    there = _there(client, root)
    old = _contents(there)
    seen = old.index if old else FIRST_INDEX
    index = max(seen, found.index) + (1 if old else LEAP)
    stamps = _stamps(found, old, lists, index)
    current = Current(str(uuid.uuid4()), new_generation(), index, history.last)
    keys = Keys(root.name, current.generation)
    for some in _portions(_puts(Asides(client, keys), keys, found, stamps, history)):
        client.call("Txn", TxnRequest(success=some), LOAD_SECONDS)
    is_same = at_revision(root.current, there.revision) if there else absent(root.current)
    _put_in_force(client, root, keys, current, is_same)
    _delete_others(client, root, current)
    contents = replace(found, index=index, stamps=stamps, sessions=())
    return Restored(Summary.of(SCHEMA, contents), None)


def _contents(there: _There | None) -> Contents | None:
    """Return what the store had, None where that cannot be read or there is none."""
    if there is not None:
        with suppress(StoreError):
            return there.reading.contents()[0]
    return None


def _put_in_force(
    client: Client, root: Root, keys: Keys, current: Current, is_same: Compare
) -> None:
    request = TxnRequest(
        compare=[is_same, none_with(root.servers)],
        success=[
            put(root.current, packed_json(current)),
            put(keys.floor, number(current.index)),
            put(keys.head, record_value("", [])),
        ],
    )
    if not client.call("Txn", request, LOAD_SECONDS).succeeded:
        _refuse_servers(client, root)
        raise StoreError("another import was done meanwhile; nothing was replaced")


def _delete_others(client: Client, root: Root, current: Current) -> None:
    """Delete the generations that are not in force, also what a failed import left."""
    first, kept = root.prefix + GENERATION.encode(), root.prefix + current.generation.encode()
    ranges = ((first, kept + b"/"), (kept + b"0", first[:-1] + b"."))
    operations = [
        RequestOp(request_delete_range=DeleteRangeRequest(key=start, range_end=end))
        for start, end in ranges
    ]
    client.call("Txn", TxnRequest(success=operations), LOAD_SECONDS)


def _stamps(
    found: Contents, old: Contents | None, lists: Collection[str], index: int
) -> dict[str, Stamp]:
    """Return the stamps of contents all of which changed now. A resource that the replaced store
    did not have, or another by the same name, is created again."""
    now = time.time_ns()
    before = old.stamps if old else {}
    stamps: dict[str, Stamp] = {}
    for resource in {*found.stamps, *lists, *filter(is_list, before)}:
        ours, theirs = found.stamps.get(resource), before.get(resource)
        is_new = ours is None or (old is not None and not _is_same(ours, theirs))
        made = Stamp(index, index, now, now) if ours is None or is_new else ours
        stamps[resource] = replace(made, modify_index=index, modify_time=now)
    return stamps


def _is_same(ours: Stamp, theirs: Stamp | None) -> bool:
    return theirs is not None and (
        (ours.create_index, ours.create_time) == (theirs.create_index, theirs.create_time)
    )


def _puts(
    asides: Asides,
    keys: Keys,
    found: Contents,
    stamps: Mapping[str, Stamp],
    history: _Imported,
) -> Iterator[RequestOp]:
    for node_id, document in _documents(found).items():
        value = packed_json(document)
        if len(value) > REQUEST_BYTES // 2:
            value = asides.put("doc", value)
        yield put(keys.doc(node_id), value)
    for declared in found.declarations:
        yield put(keys.declaration(*declared.key), packed_json(declared))
    for resource, stamp in stamps.items():
        changed = Written(stamp.modify_time, index=stamp.modify_index)
        created = Written(stamp.create_time, index=stamp.create_index)
        yield put(keys.stamp(resource), packed_stamp(changed))
        yield put(keys.made(resource), packed_stamp(created))
    for node_id, beat in found.beats.items():
        value = packed_json(KeptBeat(node_id, beat.heard, beat.ttl, beat.run))
        yield put(keys.beat(node_id, beat.run), value)
    for run in found.runs:
        yield put(keys.run(run.id), packed_json(run))
    for place, value in enumerate(history.values):
        yield put(keys.histories + b"%020d-imported" % place, value)


def _documents(found: Contents) -> dict[str, Document]:
    documents: dict[str, Document] = {}

    def of(node_id: str) -> Document:
        return documents.setdefault(node_id, Document())

    for node in found.nodes:
        of(node.id).node = node
    for instance in found.instances:
        of(instance.key.node_id).instances.append(instance)
    for mark in found.forgotten:
        of(mark.key.node_id).forgotten.append(mark)
    for secret in found.kept_secrets:
        of(secret.node_id).kept_secret = secret
    return documents


def _portions(operations: Iterable[RequestOp]) -> Iterator[list[RequestOp]]:
    """Yield operations, as many together as a transaction takes."""
    portion: list[RequestOp] = []
    size = 0
    for operation in operations:
        length = operation.ByteSize()
        if portion and (len(portion) == _PUTS_AT_ONCE or size + length > REQUEST_BYTES // 2):
            yield portion
            portion, size = [], 0
        portion.append(operation)
        size += length
    if portion:
        yield portion
