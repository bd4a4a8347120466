"""Checks and exports a store on etcd while servers run, and replaces it while none is running.

An import is written next to the existing store, and takes its place in one transaction, provided
that no server is running and that none has written since the import began. So an import that fails
part-way has changed nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from plugind import logs
from plugind.errors import StoreError
from plugind.model import (
    Declaration,
    Forgotten,
    HistoryQuery,
    KeptSecret,
    Run,
    StoredTransition,
)
from plugind.model.changes import HISTORY_LIMIT
from plugind.store import exporting
from plugind.store.base import Progress, Restored, Summary
from plugind.store.coding import WrittenInstance
from plugind.store.derived_history import FILE_NAME, DerivedHistory
from plugind.store.etcd.client import Client
from plugind.store.etcd.documents import Document
from plugind.store.etcd.failures import Unanswered
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
    delete_all,
    holds,
    is_there,
    none_with,
    portions,
    put,
)
from plugind.store.etcd.values import LOAD_SECONDS, Asides, packed_json
from plugind.store.exporting import LastBeat
from plugind.store.files import check_is_new, faults_of
from plugind.store.soundness import faults
from plugind.store.sqlite.numbering import Replaced
from plugind.store.sqlite.sharing import make_folder
from plugind.store.staging import Staged, staged

SCHEMA = 1
"""The version of the layout in etcd."""

_ROWS_AT_ONCE = 500

_log = logs.get("store")


@dataclass(frozen=True)
class _There:
    """An existing store: its ``Current``, the condition that it is the one in force, the revision
    at which it was last written (0 if that is lost), and the means to read it."""

    current: Current
    is_current: Compare
    head: int
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
    current, held = found
    keys = Keys(root.name, current.generation)
    indexes = Indexes(current.index, held.mod_revision, current.seq)
    asides = Asides(client, keys)
    is_current = holds(root.current, held.value)
    reading = Reading(client, is_current, keys, indexes, asides)
    head = client.call("Range", RangeRequest(key=keys.head)).kvs
    last = head[0].mod_revision if head else 0
    return _There(current, is_current, last, reading, asides, keys, indexes)


def _existing(client: Client, root: Root) -> _There:
    found = _there(client, root)
    if found is None:
        raise StoreError(
            f"etcd has no store of plugind below {root.name}: look at prefix, or start a server"
        )
    return found


def check(settings: EtcdSettings) -> Summary:
    """Read the whole store. Raise StoreError for contradictions in it."""
    with _connected(settings) as (client, root):
        contents, _ = _existing(client, root).reading.contents()
    if fault := next(faults(contents), ""):
        raise StoreError(f"the store below {settings.prefix} in etcd is damaged: {fault}")
    return Summary.of(SCHEMA, contents)


def export(settings: EtcdSettings, target: Path, progress: Progress) -> Summary:
    """Write the contents of the store, as of one moment, to a new file of JSON lines.

    The current state is held in memory meanwhile, as in each server; the history is not.
    """
    check_is_new(target)
    with (
        _connected(settings) as (client, root),
        faults_of(target),
        tempfile.TemporaryDirectory(prefix=".plugind-", dir=target.parent) as folder,
    ):
        there = _existing(client, root)
        contents, revision = there.reading.contents()
        rows = stored(there.reading, there.asides, there.keys, there.indexes, revision)
        identity = there.current.identity
        with closing(DerivedHistory(Path(folder) / FILE_NAME, identity)) as history:
            for batch in batches(rows, _ROWS_AT_ONCE):
                history.append(batch, 0)
            counts = exporting.counts_of(contents, history.size)
            items = exporting.items_of(contents, _oldest_first(history))
            exporting.write(target, identity, contents.index, counts, items, progress)
    return Summary.of(SCHEMA, contents)


def _oldest_first(history: DerivedHistory) -> Iterator[StoredTransition]:
    query = HistoryQuery(after=0, limit=HISTORY_LIMIT)
    while found := history.select(query):
        yield from found
        query = replace(query, after=found[-1].seq)


def import_(
    settings: EtcdSettings,
    data_dir: Path,
    source: Path,
    lists: Collection[str],
    progress: Progress,
) -> Restored:
    """Replace the store with an export. Nothing is replaced until the whole export has been read,
    in a file in ``data_dir``, and found sound."""
    make_folder(data_dir)
    with _connected(settings) as (client, root):
        there = _there(client, root)
        _refuse_servers(client, root)  # a server that has written since is noticed later
        with staged(source, data_dir, progress) as found:
            return _replace(client, root, there, found, lists)


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
    client: Client, root: Root, there: _There | None, found: Staged, lists: Collection[str]
) -> Restored:
    found.renumber(_replaced(there), lists)
    current = Current(found.identity, new_generation(), found.index, found.last_seq)
    keys = Keys(root.name, current.generation)
    is_same = [absent(root.current)]
    if there:
        is_same = [
            there.is_current,
            at_revision(there.keys.head, there.head),
        ]
    try:
        # First, because a generation is put in force only if it has this, and not once deleted.
        client.call("Txn", TxnRequest(success=[put(keys.floor, number(current.index))]))
        for some in portions(_puts(Asides(client, keys), keys, found), REQUEST_BYTES // 2):
            client.call("Txn", TxnRequest(success=some), LOAD_SECONDS)
        _put_in_force(client, root, keys, current, is_same)
    except BaseException:
        with suppress(StoreError):  # if this fails, the next import deletes it
            _delete_new(client, root, keys, is_same[0])
        raise
    try:
        _delete_others(client, root, current)
    except StoreError as error:
        _log.warning(
            "the import is in force, but what it replaced is still in etcd, until the next import",
            reason=str(error),
        )
    return Restored(found.summary(SCHEMA), None)


def _replaced(there: _There | None) -> Replaced:
    """Return what clients may have seen of the store that is replaced."""
    if there is None:
        return Replaced()
    with suppress(StoreError):
        old, _ = there.reading.contents()
        return Replaced(old.index, old.stamps.items(), there.current.identity)
    return Replaced(there.current.index, identity=there.current.identity)


def _put_in_force(
    client: Client, root: Root, keys: Keys, current: Current, is_same: Sequence[Compare]
) -> None:
    request = TxnRequest(
        compare=[*is_same, none_with(root.servers), is_there(keys.floor)],
        success=[put(root.current, packed_json(current)), put(keys.head, record_value("", []))],
    )
    try:
        if client.call("Txn", request, LOAD_SECONDS).succeeded:
            return
    except Unanswered:
        with suppress(StoreError):
            if _is_in_force(client, root, current):
                return
        raise
    if _is_in_force(client, root, current):  # the answer to the first try was lost
        return
    _refuse_servers(client, root)
    raise StoreError(
        "a server wrote to the store meanwhile, or another import was done; nothing was replaced: "
        "stop every server, and import again"
    )


def _is_in_force(client: Client, root: Root, current: Current) -> bool:
    found = current_of(client, root)
    return found is not None and found[0].generation == current.generation


def _delete_new(client: Client, root: Root, keys: Keys, is_same: Compare) -> None:
    """Delete the generation of a failed import, unless it is in force after all."""
    request = TxnRequest(compare=[is_same], success=[delete_all(keys.prefix)])
    client.call("Txn", request, LOAD_SECONDS)


def _delete_others(client: Client, root: Root, current: Current) -> None:
    """Delete the generations that are not in force, including what failed imports left."""
    first, kept = root.prefix + GENERATION.encode(), root.prefix + current.generation.encode()
    ranges = ((first, kept + b"/"), (kept + b"0", first[:-1] + b"."))
    operations = [
        RequestOp(request_delete_range=DeleteRangeRequest(key=start, range_end=end))
        for start, end in ranges
    ]
    client.call("Txn", TxnRequest(success=operations), LOAD_SECONDS)


def _puts(asides: Asides, keys: Keys, found: Staged) -> Iterator[RequestOp]:
    for node_id, document in _documents(found):
        value = packed_json(document)
        if len(value) > REQUEST_BYTES // 2:
            (value,) = asides.put("doc", [value])
        yield put(keys.doc(node_id), value)
    for declared in found.read(Declaration):
        yield put(keys.declaration(*declared.key), packed_json(declared))
    for resource, stamp in found.stamps():
        changed = Written(stamp.modify_time, index=stamp.modify_index)
        created = Written(stamp.create_time, index=stamp.create_index)
        yield put(keys.stamp(resource), packed_stamp(changed))
        yield put(keys.made(resource), packed_stamp(created))
    for each in found.read(LastBeat):
        yield put(
            keys.beat(each.node_id, ""),
            packed_json(KeptBeat(each.node_id, each.beat[0], each.beat[1], "")),
        )
    for run in found.read(Run):
        yield put(keys.run(run.id), packed_json(run))
    for place, rows in enumerate(batches(found.read(StoredTransition), _ROWS_AT_ONCE)):
        yield put(keys.histories + b"%020d-imported" % place, imported_value(rows))


def _documents(found: Staged) -> Iterator[tuple[str, Document]]:
    """Yield the document of each node ID. In a sound export, forgotten marks belong only to nodes
    that exist, and kept secrets only to nodes that do not."""
    marks: dict[str, list[Forgotten]] = {}
    for mark in found.read(Forgotten):
        marks.setdefault(mark.key.node_id, []).append(mark)
    for node, instances in found.nodes():
        written = [WrittenInstance.of(each) for each in instances]
        yield node.id, Document(node, written, marks.get(node.id, []))
    for secret in found.read(KeptSecret):
        yield secret.node_id, Document(kept_secret=secret)
