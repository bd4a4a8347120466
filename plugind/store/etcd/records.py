"""The values of ``log/head``: each has the changes that were committed at one revision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from plugind.errors import StoreError
from plugind.model import Change, Committed, StoredTransition, Transition
from plugind.store.coding import decode, encode
from plugind.store.etcd.keys import Indexes
from plugind.store.etcd.values import pack, unpack


class _Record(msgspec.Struct):
    """``by`` names the transaction, so that its writer recognizes it."""

    by: str = ""
    changes: list[msgspec.Raw] = []


class _Noted(msgspec.Struct, omit_defaults=True):
    """The transitions of a record as the history keeps them: those of each change, with how far its
    index is below that of the revision. Imported ones have numbers of their own instead."""

    changes: list[tuple[int, list[Transition]]] = []
    imported: list[StoredTransition] = []


_records = msgspec.json.Decoder(_Record)
_noted = msgspec.json.Decoder(_Noted)


class Record(NamedTuple):
    """The changes of one revision, in their order, and the size in bytes of each as JSON."""

    revision: int
    changes: Sequence[Committed]
    sizes: Sequence[int]


def record_value(by: str, changes: Sequence[Change]) -> bytes:
    """Return the packed value of a record."""
    return pack(
        msgspec.json.encode(_Record(by, [msgspec.Raw(encode(change)) for change in changes]))
    )


def record(
    packed: bytes, revision: int, indexes: Indexes, own: Callable[[str], Sequence[Change] | None]
) -> Record:
    """Decode the record in a whole value. Take its changes from ``own`` if that has them. Raise
    StoreError for anything else."""
    try:
        found = _records.decode(unpack(packed))
        texts = [bytes(text) for text in found.changes]
        changes = own(found.by) or [decode(text) for text in texts]
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"the log in etcd cannot be read at revision {revision}: {error}; is it of a newer "
            "version of plugind?"
        ) from error
    last = indexes.of(revision)
    committed = [
        Committed(last - offset(number, len(changes)), change)
        for number, change in enumerate(changes)
    ]
    return Record(revision, committed, [len(text) for text in texts])


def offset(number: int, count: int) -> int:
    """Return how far the index of a change, of ``count`` in a record, is below that of the last."""
    return count - 1 - number


def history_value(changes: Sequence[Change]) -> bytes | None:
    """Return the packed transitions of a record, None if it has none."""
    noted = [
        (offset(number, len(changes)), list(change.transitions))
        for number, change in enumerate(changes)
        if change.transitions
    ]
    return pack(msgspec.json.encode(_Noted(noted))) if noted else None


def imported_value(rows: Sequence[StoredTransition]) -> bytes:
    """Return packed transitions that keep their own numbers."""
    return pack(msgspec.json.encode(_Noted(imported=list(rows))))


def history_rows(packed: bytes, revision: int, indexes: Indexes) -> list[StoredTransition]:
    """Return the transitions in a value of the history, with their numbers."""
    noted = _noted.decode(unpack(packed))
    if noted.imported:
        return noted.imported
    last = indexes.of(revision)
    return numbered([(last - below, found) for below, found in noted.changes], revision, indexes)


def transitions_of(found: Record, indexes: Indexes) -> list[StoredTransition]:
    """Return the transitions of a record with their numbers."""
    changes = [(each.index, each.change.transitions) for each in found.changes]
    return numbered(changes, found.revision, indexes)


def numbered(
    changes: Sequence[tuple[int, Sequence[Transition]]], revision: int, indexes: Indexes
) -> list[StoredTransition]:
    """Number transitions by their revision and their order in it, which gives the same numbers on
    every server."""
    flat = [(index, one) for index, transitions in changes for one in transitions]
    return [
        StoredTransition(indexes.seq_of(revision, number), index, one)
        for number, (index, one) in enumerate(flat, 1)
    ]
