"""Commits changes, several in one transaction, if nothing that they depend on has changed.

A transaction that was sent may have been done even though no answer came. So each transaction puts
a key of its own. If its conditions fail, it also checks whether that key exists: if so, it had been
done before, and only its repetition failed.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from plugind.errors import StoreError
from plugind.model import Change
from plugind.store.base import Conflict, Outcome, OutcomeUnknown
from plugind.store.coding import encode
from plugind.store.conflicts import conflicts
from plugind.store.etcd.client import Client
from plugind.store.etcd.documents import Copies, Copy, nodes_of
from plugind.store.etcd.failures import SET_BACK, LeaseGone, Unanswered
from plugind.store.etcd.keys import INDEXES, Indexes, Keys
from plugind.store.etcd.leases import TransactionLease
from plugind.store.etcd.reading import Reading
from plugind.store.etcd.writing import Writing, Written

CHUNK_BYTES = 2**18
"""Maximum bytes of JSON of the changes in one transaction, unless it is a single large change."""

CHUNK_SCOPES = 36
"""Maximum number of scopes that the changes in one transaction depend on together. A single change
that depends on more is committed only if nothing at all was committed since they were checked."""

CHUNK_STEPS = 600
"""Maximum number of resources touched and scopes written by the changes in one transaction, unless
a single change has more."""

TRIES = 12
"""How many times a transaction is tried while what it depends on keeps changing."""

COMMIT_SECONDS = 2.0
"""Seconds that a member has to answer a commit, which most members must first write to disk."""

BYTES_A_SECOND = 200_000
"""Bytes of a transaction for which a member gets one more second: thousands of keys take time."""

OWN = 256
"""Number of recent transactions of this process whose changes are remembered by name."""


@dataclass
class _Batch:
    """What became of the earlier changes in the same call of ``commit``.

    ``own`` maps each scope that this batch has both read and written to the revision at which it
    was written: later changes of the batch may depend on it. ``bad`` has the scopes written by
    changes that were not committed.
    """

    base: int
    own: dict[str, int] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)

    def limit(self, scope: str) -> int:
        """Return the last revision at which a scope that is read may have been written."""
        return max(self.own.get(scope, 0), self.base)


class _MayBeDone(StoreError):
    """No answer came to a transaction that was sent. Raised for that call only: the calls before it
    change nothing in the store, so it does not matter whether they were done."""


class Committer:
    """Commits changes to one store. Only one thread at a time may call ``commit``.

    ``followed`` returns the revision of the newest record that this process has followed.
    """

    def __init__(
        self,
        client: Client,
        keys: Keys,
        indexes: Indexes,
        *,
        writing: Writing,
        reading: Reading,
        copies: Copies,
        lease: TransactionLease,
        followed: Callable[[], int],
    ) -> None:
        self._client = client
        self._keys = keys
        self._indexes = indexes
        self._writing = writing
        self._reading = reading
        self._copies = copies
        self._lease = lease
        self._followed = followed
        self._own: OrderedDict[str, Sequence[Change]] = OrderedDict()
        self._own_turn = threading.Lock()

    def own(self, by: str) -> Sequence[Change] | None:
        """Return the changes of a recent transaction of this process, None for any other."""
        with self._own_turn:
            return self._own.get(by)

    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Commit changes as ``Store.commit`` describes."""
        base = min(change.base for change in changes)
        batch = _Batch(self._indexes.revision_of(base))
        outcomes: list[Outcome] = []
        for chunk in _chunks(changes):
            try:
                outcomes += self._commit(chunk, batch)
                continue
            except _MayBeDone as error:
                outcomes += [OutcomeUnknown(str(error)) for _ in chunk]
            except StoreError:
                if not outcomes:
                    raise
                # None of these was done: planned again, they fail on their own.
                outcomes += [Conflict("store") for _ in chunk]
            batch.bad |= {scope for change in chunk for scope in change.writes}
        return outcomes

    def _commit(self, chunk: Sequence[Change], batch: _Batch) -> list[Outcome]:
        """Commit changes in one transaction, without those that conflict. Raise StoreError if none
        of them was done, and _MayBeDone if that is not known."""
        name = uuid.uuid4().hex
        moved: set[str] = set()  # scopes known to be written since the base
        tried: list[Sequence[Change]] = []
        for _ in range(TRIES):
            failed = conflicts(chunk, partial(_among, moved | batch.bad))
            left = [change for change, why in zip(chunk, failed, strict=True) if why is None]
            if not left:
                return self._outcomes(chunk, failed, batch, [], 0)
            tried.append(left)
            done = self._try(name, tried, batch)
            if isinstance(done, _Done):
                if done.attempt != len(tried) - 1:
                    left = list(tried[done.attempt])
                    ids = {id(change) for change in left}
                    failed = [None if id(change) in ids else _conflict(change) for change in chunk]
                return self._outcomes(chunk, failed, batch, left, done.revision)
            moved |= done
        return [_conflict(change) for change in chunk]

    def _outcomes(
        self,
        chunk: Sequence[Change],
        failed: Sequence[Conflict | None],
        batch: _Batch,
        done: Sequence[Change],
        revision: int,
    ) -> list[Outcome]:
        last = self._indexes.of(revision)
        indexes = iter(range(last - len(done) + 1, last + 1))
        outcomes: list[Outcome] = []
        for change, why in zip(chunk, failed, strict=True):
            if why is not None:
                batch.bad |= change.writes
                outcomes.append(why)
            else:
                outcomes.append(next(indexes))
        for change in done:
            batch.own |= dict.fromkeys(change.writes & change.reads, revision)
        return outcomes

    def _try(self, name: str, tried: Sequence[Sequence[Change]], batch: _Batch) -> Any:
        """Try to commit the last list of changes in ``tried``, which has those of each attempt.
        Return a _Done, or the scopes that were written meanwhile."""
        attempt, changes = len(tried) - 1, tried[-1]
        by = f"{name}/{attempt}"
        limits = _limits(changes, batch)
        head = 0
        if len(_rests_on(changes)) > CHUNK_SCOPES:
            head, moved = self._reading.moved(limits)
            if moved:
                return moved
        documents = self._documents(changes, head)
        followed = self._followed()
        written = self._writing.transaction(
            by,
            changes,
            limits=limits,
            documents=documents,
            head=head,
            followed=followed,
            lease=self._lease(),
        )
        self._remember(by, changes)
        try:
            response = self._sent(written)
        except LeaseGone:  # such as after a long time without etcd; nothing was done
            self._lease.forget()
            return set()
        if response.succeeded:
            self._keep(written, response.header.revision)
            return _Done(response.header.revision, attempt)
        replaced, found, heads = (each.response_range.kvs for each in response.responses)
        if found:
            done = int(found[0].value)
            if done == attempt:
                self._keep(written, found[0].mod_revision)
            else:
                self._copies.drop(documents)
            return _Done(found[0].mod_revision, done)
        self._reading.check_current(replaced)
        if not heads or heads[0].mod_revision < followed:
            raise StoreError(SET_BACK)
        self._copies.drop(documents)
        return self._reading.moved(limits)[1]

    def _remember(self, by: str, changes: Sequence[Change]) -> None:
        with self._own_turn:
            self._own[by] = changes
            while len(self._own) > OWN:
                self._own.popitem(last=False)

    def _sent(self, written: Written) -> Any:
        """Send a transaction and return the response. Raise StoreError."""
        try:
            return self._client.call("Txn", written.request, _seconds(written))
        except Unanswered as error:
            if error.may_be_done:
                raise _MayBeDone(str(error)) from error
            raise

    def _documents(self, changes: Sequence[Change], head: int) -> dict[str, Copy]:
        """Return the documents of the nodes that changes write, as of the revision ``head`` or
        later. Read from etcd those whose copy is missing or older."""
        node_ids = {node_id for change in changes for node_id in nodes_of(change)}
        found = {node_id: self._copies.get(node_id) for node_id in sorted(node_ids)}
        missing = [
            node_id for node_id, copy in found.items() if copy is None or copy.revision < head
        ]
        for node_id, copy in self._reading.documents(missing).items():
            self._copies.keep(node_id, copy)
            found[node_id] = copy
        return {node_id: copy for node_id, copy in found.items() if copy is not None}

    def _keep(self, written: Written, revision: int) -> None:
        for node_id, (packed, pointer) in written.documents.items():
            self._copies.keep(node_id, Copy(revision, packed, pointer))


@dataclass(frozen=True)
class _Done:
    """A transaction was done: at which revision, and by which of its attempts."""

    revision: int
    attempt: int


def _among(moved: frozenset[str] | set[str], base: int, scopes: Collection[str]) -> Collection[str]:
    return moved.intersection(scopes)


def _conflict(change: Change) -> Conflict:
    return Conflict(min(change.reads, default="store"))


def _seconds(written: Written) -> float:
    return COMMIT_SECONDS + written.request.ByteSize() / BYTES_A_SECOND


def _limits(changes: Iterable[Change], batch: _Batch) -> dict[str, int]:
    """Return each scope that changes read, with the last revision at which it may be written."""
    return {scope: batch.limit(scope) for change in changes for scope in change.reads}


def _rests_on(changes: Iterable[Change]) -> set[str]:
    """Return the scopes that changes read, and those of the nodes whose documents they write."""
    return {
        scope
        for change in changes
        for scope in (*change.reads, *(f"node/{node_id}" for node_id in nodes_of(change)))
    }


def _chunks(changes: Sequence[Change]) -> list[list[Change]]:
    """Split changes, in their order, into lists that each fit into one transaction."""
    chunks: list[list[Change]] = []
    size = steps = 0
    scopes: set[str] = set()
    for change in changes:
        rests_on = _rests_on([change])
        length, touched = len(encode(change)), len(change.touched) + len(change.writes)
        is_full = not chunks or (
            size + length > CHUNK_BYTES
            or steps + touched > CHUNK_STEPS
            or len(scopes | rests_on) > CHUNK_SCOPES
            or len(chunks[-1]) == INDEXES
        )
        if is_full:
            chunks.append([])
            size, steps, scopes = 0, 0, set()
        chunks[-1].append(change)
        size, steps, scopes = size + length, steps + touched, scopes | rests_on
    return chunks
