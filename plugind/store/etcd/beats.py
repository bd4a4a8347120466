"""Keeps when nodes were last heard and when server processes ran, outside the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from plugind.errors import StoreError
from plugind.model import Beat, Run
from plugind.store.base import RUNS_KEPT, Heard
from plugind.store.etcd.client import Client
from plugind.store.etcd.keys import Keys
from plugind.store.etcd.reading import KeptBeat, Reading
from plugind.store.etcd.rpc_pb2 import Compare, RangeRequest, RequestOp, TxnRequest
from plugind.store.etcd.transactions import at_revision, batches, delete, get, put
from plugind.store.etcd.values import packed_json, unpack

_AT_ONCE = 120

_TRIES = 8

_run = msgspec.json.Decoder(Run)


class Beats:
    """Writes and reads the beats and runs of one generation. Thread-safe, except ``mark``, which
    only one thread may call."""

    def __init__(self, client: Client, is_current: Compare, keys: Keys, reading: Reading) -> None:
        self._client = client
        self._keys = keys
        self._reading = reading
        self._is_current = is_current

    def beat(self, beats: Mapping[str, Beat]) -> None:
        """Keep when nodes were last heard."""
        puts = [
            put(
                self._keys.beat(node_id, beat.run),
                packed_json(KeptBeat(node_id, beat.heard, beat.ttl, beat.run)),
            )
            for node_id, beat in beats.items()
        ]
        self._write(puts)

    def heard(self, after: int) -> Heard:
        """Return the beats that were kept after a cursor."""
        return Heard(*self._reading.beats(after=after))

    def mark(self, run: str, now: int) -> None:
        """Record that the server process ``run`` is running at the time ``now``."""
        key = self._keys.run(run)
        for _ in range(_TRIES):
            found = self._client.call("Range", RangeRequest(key=key)).kvs
            start = _run.decode(unpack(found[0].value)).start if found else now
            request = TxnRequest(
                compare=[self._is_current, at_revision(key, found[0].mod_revision if found else 0)],
                success=[put(key, packed_json(Run(run, start, max(start, now))))],
                failure=[get(key)],
            )
            if self._client.call("Txn", request).succeeded:
                if not found:
                    self._prune(run)
                return
            self._reading.check_current()
        raise StoreError("other servers write the mark of this run; try again later")

    def _prune(self, run: str) -> None:
        """Delete the shortest other runs if there are more than RUNS_KEPT."""
        runs = self._reading.runs()
        others = [each for each in runs if each.id != run]
        others.sort(key=lambda each: (each.end - each.start, each.start, each.id))
        gone = others[: max(0, len(runs) - RUNS_KEPT)]
        self._write([delete(self._keys.run(each.id)) for each in gone])

    def _write(self, operations: Sequence[RequestOp]) -> None:
        for some in batches(operations, _AT_ONCE):
            self._reading.write(some)
