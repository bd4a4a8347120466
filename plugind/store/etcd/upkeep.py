"""Regular work of one server for all of them: it compacts etcd and deletes unneeded keys.

By default etcd is not compacted, and until it is, it keeps every report.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from plugind.store.etcd.client import Client
from plugind.store.etcd.failures import Full, RevisionGone
from plugind.store.etcd.keys import Indexes, Keys, number
from plugind.store.etcd.leases import now
from plugind.store.etcd.reading import Reading
from plugind.store.etcd.rpc_pb2 import CompactionRequest, KeyValue
from plugind.store.etcd.settings import EtcdSettings
from plugind.store.etcd.transactions import at_revision, batches, below, delete, put, within
from plugind.store.etcd.values import LOAD_SECONDS

EVERY = 60.0
"""Seconds between two compactions."""

RUNS_OF_A_NODE = 4
"""Runs of a node's agent whose last beats are kept: more than there are at the same time."""

_DELETED_AT_ONCE = 120


class Upkeep:
    """Compacts etcd for one store. ``kept_from`` returns the index of the oldest change with a
    transition in the history of this server, 0 for none."""

    def __init__(
        self,
        client: Client,
        keys: Keys,
        indexes: Indexes,
        *,
        reading: Reading,
        settings: EtcdSettings,
        kept_from: Callable[[], int],
    ) -> None:
        self._client = client
        self._keys = keys
        self._indexes = indexes
        self._reading = reading
        self._settings = settings
        self._kept_from = kept_from
        self._seen: deque[tuple[float, int, int]] = deque()

    def note(self, head: int, revision: int) -> None:
        """Note the revision at which ``log/head`` was last put, and the current revision. Every
        server does this, because each may get the duty.

        The floor must not go beyond ``head``, the newest revision that a reader can have. Beats and
        marks advance the current revision, and etcd is compacted to that.
        """
        moment = now()
        if not self._seen or moment - self._seen[-1][0] >= EVERY / 2:
            self._seen.append((moment, head, revision))
        while len(self._seen) > 1 and self._seen[1][0] <= moment - self._settings.log_keep:
            self._seen.popleft()

    def do(self) -> None:
        """Delete old keys, and compact etcd to the revision at which the log begins. Raise
        StoreError."""
        if self._seen and self._seen[0][0] <= now() - self._settings.log_keep:
            self.compact(*self._seen[0][1:])

    def compact(self, head: int, revision: int) -> None:
        """Compact etcd to a revision, and have the log begin after ``head``, the revision at which
        ``log/head`` had last been put by then. Raise StoreError."""
        self._prune_history()
        if self._raise_floor(head):
            self._delete_old(self._keys.scopes, revision)
            self._delete_asides(self._needed_from(revision))
        self._delete_old_beats(revision)
        if self._settings.compact:
            with suppress(RevisionGone):  # another program has done it
                request = CompactionRequest(revision=revision)
                self._client.call("Compact", request, LOAD_SECONDS)

    def _raise_floor(self, head: int) -> bool:
        """Have the log reach back to the changes after ``head`` and no further. Return False if
        etcd is full: then it takes only deletions."""
        key, value = self._keys.floor, number(self._indexes.of(head))
        try:
            self._reading.write([within([below(key, value)], [put(key, value)])])
        except Full:
            return False
        return True

    def _needed_from(self, revision: int) -> int:
        """Return the revision before which no large value of the log or history is needed."""
        kept = self._kept_from()
        return min(revision, self._indexes.revision_of(kept)) if kept else revision

    def _prune_history(self) -> None:
        """Delete the transitions that are no longer in the history of this server."""
        revision = self._indexes.revision_of(self._kept_from())
        if self._delete_old(self._keys.histories, revision):
            with suppress(Full):
                pruned = number(self._indexes.of(revision - 1))
                self._reading.write([put(self._keys.pruned, pruned)])

    def _delete_old(self, prefix: bytes, revision: int) -> int:
        """Delete the keys with a prefix that were last put before a revision. Return how many."""
        return self._delete(self._old(prefix, revision))

    def _old(self, prefix: bytes, revision: int) -> list[KeyValue]:
        if revision <= 1:
            return []
        pages = self._reading.pages(prefix, keys_only=True, older=revision - 1)
        return [each for page in pages for each in page]

    def _delete_asides(self, revision: int) -> None:
        """Delete the large values of the log and history whose newest part was put before a
        revision."""
        parts: dict[bytes, list[KeyValue]] = {}
        for page in self._reading.pages(self._keys.asides + b"log/", keys_only=True):
            for each in page:
                parts.setdefault(each.key.rpartition(b"/")[0], []).append(each)
        self._delete(
            each
            for found in parts.values()
            if max(each.mod_revision for each in found) < revision
            for each in found
        )

    def _delete_old_beats(self, revision: int) -> None:
        """Delete beats that arrived just after their nodes were removed, and those of a node's
        oldest runs: each start of an agent is a run."""
        pages = self._reading.pages(self._keys.docs, keys_only=True)
        there = {each.key.removeprefix(self._keys.docs) for page in pages for each in page}
        beats: dict[bytes, list[KeyValue]] = {}
        for page in self._reading.pages(self._keys.beats, keys_only=True):
            for each in page:
                node_id = each.key.removeprefix(self._keys.beats).partition(b"/")[0]
                beats.setdefault(node_id, []).append(each)
        old: list[KeyValue] = []
        for node_id, found in beats.items():
            if node_id in there:
                found.sort(key=lambda each: each.mod_revision)
                old += found[:-RUNS_OF_A_NODE]
            else:
                old += [each for each in found if each.mod_revision < revision]
        self._delete(old)

    def _delete(self, found: Iterable[KeyValue]) -> int:
        """Delete keys unless they were put again since they were found: such a key is no longer
        old, and without the key of a scope nobody would see that the scope was written. Return how
        many keys there were."""
        count = 0
        for some in batches(found, _DELETED_AT_ONCE):
            self._reading.write(
                [
                    within([at_revision(each.key, each.mod_revision)], [delete(each.key)])
                    for each in some
                ]
            )
            count += len(some)
        return count
