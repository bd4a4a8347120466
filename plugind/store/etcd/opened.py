"""An open store on etcd: its parts, its threads, and the methods of ``Store``."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from plugind import logs
from plugind.errors import Compacted, StoreError
from plugind.health.threads import OwnedThread
from plugind.model import Beat, Change, Committed, Contact, HistoryQuery, Run, StoredTransition
from plugind.store.base import FIRST_INDEX, Contents, Heard, Outcome, Retention
from plugind.store.etcd.beats import Beats
from plugind.store.etcd.client import Client
from plugind.store.etcd.committing import Committer
from plugind.store.etcd.documents import Copies, nodes_of
from plugind.store.etcd.failures import SET_BACK
from plugind.store.etcd.following import Follower
from plugind.store.etcd.heads import Heads
from plugind.store.etcd.histories import Histories
from plugind.store.etcd.keys import Current, Indexes, Keys, Root, new_generation, number
from plugind.store.etcd.leases import LeasedKey, TransactionLease
from plugind.store.etcd.ledger import Ledger
from plugind.store.etcd.reading import Reading, current_of
from plugind.store.etcd.records import Record, record, record_value
from plugind.store.etcd.rpc_pb2 import KeyValue, StatusRequest, TxnRequest
from plugind.store.etcd.settings import EtcdSettings
from plugind.store.etcd.transactions import absent, get, holds, not_before, put
from plugind.store.etcd.upkeep import EVERY, Upkeep
from plugind.store.etcd.values import Asides, packed_json
from plugind.store.etcd.writing import Writing
from plugind.store.sqlite.sharing import make_folder

SERVER_SECONDS = 30
"""Seconds for which etcd keeps the key of a server that is gone; imports are refused until then."""

DUTY_SECONDS = 5
"""Seconds for which etcd keeps the duty of a server that is gone."""

LOOK = 1.0
"""Seconds between two checks of etcd, whatever other calls are made."""

KNOWN = 3.0
"""Seconds without an answer after which etcd counts as out of reach."""

FAILS_AT_ONCE = 5.0
"""Seconds after a failed check in which other callers fail at once, instead of waiting for an etcd
that is out of reach. The next check is usually over by then."""

LOSES_WRITES = ("3.5.0", "3.5.1", "3.5.2")
"""Versions that can lose acknowledged writes when a member is killed
(https://github.com/etcd-io/etcd/issues/13766)."""

_log = logs.get("store")


def made(client: Client, root: Root) -> tuple[Current, KeyValue]:
    """Return the store's ``Current`` and the key that holds it, creating the store if need be."""
    while (found := current_of(client, root)) is None:
        current = Current(str(uuid.uuid4()), new_generation(), FIRST_INDEX, 0)
        keys = Keys(root.name, current.generation)
        request = TxnRequest(
            compare=[absent(root.current)],
            success=[
                put(root.current, packed_json(current)),
                put(keys.floor, number(current.index)),
                put(keys.head, record_value("", [])),
            ],
        )
        client.call("Txn", request)
    return found


class Opened:
    """A store that is open. Its methods are those of ``Store``."""

    def __init__(
        self, settings: EtcdSettings, data_dir: Path, retention: Callable[[], Retention]
    ) -> None:
        with ExitStack() as undo:
            self.data_dir = data_dir
            make_folder(data_dir)
            self._client = Client(settings)
            undo.callback(self._client.close)
            root = Root(settings.prefix)
            current, held = made(self._client, root)
            self.identity = current.identity
            self._is_current = holds(root.current, held.value)
            self._indexes = Indexes(current.index, held.mod_revision, current.seq)
            self._keys = keys = Keys(settings.prefix, current.generation)
            self._ended = threading.Event()
            self._make(settings, root)
            self._histories = Histories(
                data_dir,
                current.identity,
                keys,
                self._indexes,
                reading=self._reading,
                asides=self._asides,
                retention=retention,
            )
            undo.callback(self._histories.close)
            self._upkeep = Upkeep(
                self._client,
                keys,
                self._indexes,
                reading=self._reading,
                settings=settings,
                kept_from=self._histories.kept_from,
            )
            self._lease_keys(root)
            undo.callback(self._server.release)
            self._follower.start()
            self._looks.start()
            self._works.start()
            undo.pop_all()
        self._warn_of_versions()

    def _make(self, settings: EtcdSettings, root: Root) -> None:
        client, keys, indexes = self._client, self._keys, self._indexes
        self._asides = Asides(client, keys)
        self._reading = Reading(client, self._is_current, keys, indexes, self._asides)
        self._copies = Copies()
        self._ledger = Ledger(settings)
        self._beats = Beats(client, self._is_current, keys, self._reading)
        self._heads = Heads(self._read_head)
        self._failure = ""
        self._failed_at = 0.0  # when the last check failed
        self._known_at = time.monotonic()  # when a majority of members last answered
        self._committer = Committer(
            client,
            keys,
            indexes,
            writing=Writing(self._is_current, keys, indexes, self._asides, self._ledger.floor),
            reading=self._reading,
            copies=self._copies,
            lease=TransactionLease(client),
            followed=lambda: self._indexes.revision_of(self._follower.end),
        )
        self._follower = Follower(
            client, keys, indexes, decoded=self._decoded, taken=self._taken, begun=self._begun
        )
        self._root = root
        self._looks = OwnedThread("etcd looks", self._look_on, restarts=True)
        self._works = OwnedThread("etcd upkeep", self._work_on, restarts=True)

    def _lease_keys(self, root: Root) -> None:
        name = f"{socket.gethostname()} (process {os.getpid()})".encode()
        key = root.servers + uuid.uuid4().hex.encode()
        self._server = LeasedKey(self._client, key, name, SERVER_SECONDS, self._is_current)
        self._duty = LeasedKey(self._client, root.duty, name, DUTY_SECONDS, self._is_current)
        if not self._server.take():
            self._reading.check_current()
            raise StoreError("etcd did not take the mark of this server; try again")

    def _warn_of_versions(self) -> None:
        for address, version in self._client.versions().items():
            if version in LOSES_WRITES:
                _log.warning(
                    "this version of etcd can lose writes when it is killed: update it",
                    member=address,
                    version=version,
                )

    @property
    def size(self) -> int | None:
        """Return the size of etcd's whole database in bytes; None if etcd does not answer."""
        try:
            return int(self._client.call("Status", StatusRequest()).dbSize)
        except StoreError:
            return None

    @property
    def contact(self) -> Contact:
        age = max(0.0, time.monotonic() - self._known_at)
        return Contact(age < KNOWN, age)

    @property
    def trouble(self) -> str:
        troubles = (
            "" if self.contact.is_known else self._failure or "etcd does not answer",
            self._follower.trouble,
            self._histories.trouble,
        )
        return "; ".join(dict.fromkeys(filter(None, troubles)))

    def load(self) -> Contents:
        return self._reading.contents()[0]

    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        if changes:
            return self._committer.commit(changes)
        self._prove()
        return []

    def _prove(self) -> None:
        """Write a key that nobody reads. Raise StoreError if changes could not be written."""
        followed = self._indexes.revision_of(self._follower.end)
        request = TxnRequest(
            compare=[self._is_current, not_before(self._keys.head, followed)],
            success=[put(self._root.proof, b"")],
            failure=[get(self._root.current)],
        )
        response = self._client.call("Txn", request)
        if not response.succeeded:
            self._reading.check_current(response.responses[0].response_range.kvs)
            raise StoreError(SET_BACK)

    def read(self, after: int, limit: int) -> Sequence[Committed]:
        found = self._follower.read(after, limit)
        if found is None:
            return self._follower.read_again(after, limit)
        if not found and after > self._follower.end and after > self.newest():
            raise Compacted(f"the store is not at index {after}: it was replaced; load it again")
        return found

    def newest(self) -> int:
        failure, failed_at = self._failure, self._failed_at
        is_recent = time.monotonic() - failed_at < FAILS_AT_ONCE
        is_away = failed_at > self._client.answered_at and not self.contact.is_known
        if failure and is_recent and is_away:
            raise StoreError(failure)
        return self._indexes.of(self._heads.newest())

    def _read_head(self) -> int:
        known, begun = self._follower.end, time.monotonic()
        head, revision = self._reading.head()
        if self._indexes.of(head) < known:
            raise StoreError(SET_BACK)
        self._known_at = max(self._known_at, begun)
        self._follower.check(head, revision)
        self._upkeep.note(head, revision)
        return head

    def wait(self, after: int, timeout: float) -> bool:
        return self._follower.wait(after, timeout)

    def interrupt(self) -> None:
        self._follower.interrupt()

    def history(self, query: HistoryQuery) -> Sequence[StoredTransition]:
        return self._histories.select(query)

    def deleted_until(self) -> int:
        return self._histories.deleted_until()

    def beat(self, beats: Mapping[str, Beat]) -> None:
        self._beats.beat(beats)

    def heard(self, after: int) -> Heard:
        return self._beats.heard(after)

    def mark(self, run: str, now: int) -> None:
        self._beats.mark(run, now)

    def runs(self, since: int) -> Sequence[Run]:
        return [run for run in self._reading.runs() if run.end >= since]

    def has_duty(self) -> bool:
        try:
            return self._duty.take()
        except StoreError:
            return self._duty.is_held

    def close(self) -> None:
        self._ended.set()
        self._follower.close()
        self._looks.join()
        self._works.join()
        self._duty.release()
        self._server.release()
        self._histories.close()
        self._client.close()

    def _decoded(self, value: bytes, revision: int) -> Record:
        whole = self._asides.whole(value, revision)
        return record(whole, revision, self._indexes, self._committer.own)

    def _taken(self, records: Sequence[Record]) -> None:
        for each in records:
            node_ids = {node_id for one in each.changes for node_id in nodes_of(one.change)}
            self._copies.follow(each.revision, node_ids)
        self._ledger.follow(records)
        self._histories.follow(records)

    def _begun(self, revision: int) -> None:
        self._copies.clear(revision)
        self._histories.begin()

    def _look_on(self) -> None:
        """Keep this server's keys alive, and track whether etcd can be reached."""
        while not self._ended.wait(LOOK):
            try:
                self._heads.newest()
                self._duty.renew()
                self._server.renew()
                if not self._server.is_held and not self._server.take():
                    self._reading.check_current()
            except StoreError as error:
                if not self._failure:
                    _log.warning("the store in etcd cannot be used", reason=str(error))
                self._failed_at, self._failure = time.monotonic(), str(error)
            else:
                if self._failure:
                    _log.info("the store in etcd can be used again")
                self._failure = ""

    def _work_on(self) -> None:
        failure = ""
        while not self._ended.wait(EVERY):
            if not self._duty.is_held:
                continue
            try:
                self._upkeep.do()
            except StoreError as error:
                if str(error) != failure:
                    _log.error("etcd cannot be compacted", reason=str(error))
                failure = str(error)
            else:
                failure = ""
