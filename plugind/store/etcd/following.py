"""Follows the log in etcd with a watch, and keeps the latest changes for those who read them.

Progress notifications are not used: one that is requested while a watch is catching up may overtake
events (https://github.com/etcd-io/etcd/issues/15220). Instead, a watch that stays behind
``log/head`` is taken to be stuck, and is opened again.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from typing import Any

import grpc

from plugind import logs
from plugind.errors import Compacted, StoreError
from plugind.health.threads import OwnedThread
from plugind.model import Committed
from plugind.store.etcd.client import Client, Member
from plugind.store.etcd.failures import (
    REPLACED,
    AuthExpired,
    RevisionGone,
    of_call,
    of_text,
    summary,
)
from plugind.store.etcd.keys import Indexes, Keys, end_of
from plugind.store.etcd.records import Record
from plugind.store.etcd.rpc_pb2 import (
    Event,
    RangeRequest,
    WatchCreateRequest,
    WatchRequest,
)

KEPT = 8_192
"""Changes kept in memory for readers; a reader that is further behind gets them from etcd again."""

KEPT_BYTES = 64 * 2**20
"""Maximum bytes of JSON of these changes."""

BEHIND = 2.0
"""Seconds for which the watch may be behind ``log/head`` before it is opened again."""

PAUSE = 0.25
"""Seconds before the watch is opened again when no member could be reached, or none had a leader:
once a majority of the members is back, parked queries wait for it."""

PAUSE_MAXIMUM = 2.0
"""Seconds before it is opened again when etcd refused it again and again: the pause doubles."""

READ_SECONDS = 10.0
"""Seconds for reading changes that are no longer in memory."""

_log = logs.get("store")


class Follower:
    """Keeps the latest changes, up to the index ``end``. Thread-safe.

    ``decoded(value, revision)`` decodes a value of ``log/head`` to a record. ``taken`` is called
    with new records before anyone can read them. ``begun(revision)`` is called before the watch
    starts after a revision without knowing the changes up to it.
    """

    def __init__(
        self,
        client: Client,
        keys: Keys,
        indexes: Indexes,
        *,
        decoded: Callable[[bytes, int], Record],
        taken: Callable[[Sequence[Record]], object],
        begun: Callable[[int], object],
    ) -> None:
        self._client = client
        self._keys = keys
        self._indexes = indexes
        self._decoded = decoded
        self._taken = taken
        self._begun = begun
        self._news = threading.Condition()
        self._changes: deque[tuple[Committed, int]] = deque()
        self._bytes = 0
        self._start = self._end = self._floor = indexes.index
        self._revision = 0  # everything up to it is known
        self._interrupts = 0
        self._closed = threading.Event()
        self._stream: Any = None
        self._member: Member | None = None
        self._behind_since: float | None = None
        self._failure = ""
        self._failing_since = 0.0
        self.thread = OwnedThread("etcd watch", self._run, restarts=True)

    @property
    def floor(self) -> int:
        """Return the index that the log reaches back to."""
        return self._floor

    @property
    def end(self) -> int:
        """Return the index of the last known change."""
        return self._end

    @property
    def trouble(self) -> str:
        """Return why the log has not been followed for BEHIND seconds; "" if all is well."""
        is_long = time.monotonic() - self._failing_since > BEHIND
        return self._failure if is_long else ""

    def start(self) -> None:
        """Begin to follow the log. Raise StoreError."""
        self._begin()
        self.thread.start()

    def close(self) -> None:
        self._closed.set()
        self.interrupt()
        self._cancel()
        self.thread.join()

    def read(self, after: int, limit: int) -> list[Committed] | None:
        """Return at most ``limit`` changes after an index from those in memory; None if they do not
        reach back that far. Raise Compacted if the log does not either."""
        with self._news:
            if after < self._floor:
                raise Compacted(
                    f"the changes after index {after} are not in the store's log: load it again"
                )
            if after < self._start:
                return None
            place = bisect_right(self._changes, after, key=lambda each: each[0].index)
            return [each for each, _ in islice(self._changes, place, place + limit)]

    def read_again(self, after: int, limit: int) -> list[Committed]:
        """Return what ``read`` would, but from etcd, up to where the log has been followed. Raise
        Compacted, or StoreError if the log cannot be read."""
        found: list[Committed] = []
        first, last = self._indexes.revision_of(after) + 1, self._indexes.revision_of(self._end)
        if first > last:
            return found
        member = next(self._client.members())
        try:
            with self._opened(member, first, READ_SECONDS) as stream:
                for events in _events(stream, member):
                    for record in self._records(events)[0]:
                        found += [each for each in record.changes if each.index > after]
                    if len(found) >= limit or (events and events[-1].kv.mod_revision >= last):
                        break
        except RevisionGone as error:
            raise Compacted(f"etcd was compacted after index {after}: load it again") from error
        except grpc.RpcError as error:
            raise StoreError(f"the log in etcd cannot be read: {summary(error)}") from error
        return found[:limit]

    def wait(self, after: int, timeout: float) -> bool:
        """Wait until a change after an index is known. Return whether one is."""
        with self._news:
            interrupts = self._interrupts
            self._news.wait_for(lambda: self._end > after or self._interrupts > interrupts, timeout)
            return self._end > after

    def interrupt(self) -> None:
        with self._news:
            self._interrupts += 1
            self._news.notify_all()

    def check(self, head: int, revision: int) -> None:
        """Note that ``log/head`` was last put at the revision ``head``, and not again up to
        ``revision``. Have the watch opened again if it has been behind for BEHIND seconds."""
        index, now = self._indexes.of(head), time.monotonic()
        with self._news:
            if index == self._end:
                self._revision = max(self._revision, revision)
            if index <= self._end:
                self._behind_since = None
                return
            self._behind_since = self._behind_since or now
            if now - self._behind_since < BEHIND:
                return
            self._behind_since = None
            member = self._member
        _log.warning("the watch on etcd is behind and is opened again")
        if member is not None:
            member.skip()
        self._cancel()

    def _begin(self) -> None:
        """Begin at the current revision, with none of the changes before it. Raise StoreError."""
        request = RangeRequest(key=self._keys.log, range_end=end_of(self._keys.log))
        response = self._client.call("Range", request)
        held = {each.key: each for each in response.kvs}
        if self._keys.head not in held:
            raise StoreError(REPLACED)
        revision = response.header.revision
        self._begun(revision)
        with self._news:
            self._changes.clear()
            self._bytes = 0
            self._start = self._end = self._indexes.of(held[self._keys.head].mod_revision)
            self._floor = max(self._floor, int(held[self._keys.floor].value))
            self._revision = revision
            self._news.notify_all()

    def _run(self) -> None:
        pause = PAUSE
        while not self._closed.is_set():
            is_refused = True
            try:
                self._follow(next(self._client.members()))
                failure, is_refused = "etcd ended the watch", False
            except RevisionGone:
                failure = "etcd was compacted beyond what this server has seen"
                try:
                    self._begin()
                except StoreError as error:
                    failure = str(error)
            except AuthExpired as error:
                self._client.renew_token()
                failure = str(error)
            except StoreError as error:
                failure = str(error)
            except grpc.RpcError as error:
                is_refused = False
                is_ours = error.code() == grpc.StatusCode.CANCELLED
                failure = "the watch was behind" if is_ours else summary(error)
            if self._closed.is_set():
                return
            if not self._failure:
                self._failing_since = time.monotonic()
                _log.warning("the log in etcd is not followed", reason=failure)
            self._failure = failure
            self._closed.wait(pause)
            pause = min(2 * pause, PAUSE_MAXIMUM) if is_refused else PAUSE

    def _follow(self, member: Member) -> None:
        self._member = member
        with self._opened(member, self._revision + 1) as stream:
            self._stream = stream
            if self._closed.is_set():
                return
            for events in _events(stream, member):
                if self._failure:
                    _log.info("the log in etcd is followed again")
                    self._failure = ""
                if events:
                    self._take(events)

    @contextmanager
    def _opened(self, member: Member, revision: int, timeout: float | None = None) -> Iterator[Any]:
        """Open a watch on the log from a revision on, and end it after the block."""
        done = threading.Event()
        key = self._keys.log
        create = WatchCreateRequest(key=key, range_end=end_of(key), start_revision=revision)

        def requests() -> Iterator[WatchRequest]:
            yield WatchRequest(create_request=create)
            done.wait()  # the watch would end with its stream of requests

        metadata = (*self._client.metadata(member), ("hasleader", "true"))
        stream = member.watch.Watch(requests(), metadata=metadata, timeout=timeout)
        try:
            yield stream
        finally:
            done.set()
            stream.cancel()

    def _cancel(self) -> None:
        if (stream := self._stream) is not None:
            stream.cancel()

    def _take(self, events: Sequence[Event]) -> None:
        records, floor = self._records(events)
        self._taken(records)
        with self._news:
            for record in records:
                self._changes.extend(zip(record.changes, record.sizes, strict=True))
                self._bytes += sum(record.sizes)
                self._end = self._indexes.of(record.revision)
            while len(self._changes) > KEPT or (self._bytes > KEPT_BYTES and self._changes):
                oldest, size = self._changes.popleft()
                self._bytes -= size
                self._start = oldest.index
            self._floor = max(self._floor, floor)
            self._revision = events[-1].kv.mod_revision
            self._news.notify_all()

    def _records(self, events: Sequence[Event]) -> tuple[list[Record], int]:
        """Return the records among events, and the newest floor (0 if there is none). Raise
        StoreError if the store was replaced."""
        records, floor = [], 0
        for revision, group in groupby(events, lambda each: each.kv.mod_revision):
            for event in group:
                if event.type == Event.DELETE:
                    raise StoreError(REPLACED)
                if event.kv.key == self._keys.floor:
                    floor = int(event.kv.value)
                elif event.kv.key == self._keys.head:
                    records.append(self._decoded(event.kv.value, revision))
        return records, floor


def _events(stream: Any, member: Member) -> Iterator[Sequence[Event]]:
    """Yield the events of each response of a watch. The first response has none."""
    try:
        for response in stream:
            if response.compact_revision:
                raise RevisionGone("etcd was compacted beyond that revision")
            if response.canceled:
                text = response.cancel_reason or "no reason was given"
                raise of_text(text, member.address) or StoreError(f"etcd ended the watch: {text}")
            yield response.events
    except grpc.RpcError as error:
        raise of_call(error, member.address) or error from error
