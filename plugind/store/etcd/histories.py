"""Keeps this server's derived history in step with the transitions in etcd."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from plugind import logs
from plugind.errors import StoreError
from plugind.model import HistoryQuery, StoredTransition
from plugind.store.base import Retention
from plugind.store.derived_history import FILE_NAME, DerivedHistory
from plugind.store.etcd.keys import Indexes, Keys
from plugind.store.etcd.reading import Reading
from plugind.store.etcd.records import Record, history_rows, transitions_of
from plugind.store.etcd.transactions import batches
from plugind.store.etcd.values import Asides
from plugind.store.sqlite.sharing import make_folder

_ROWS_AT_ONCE = 5_000

_log = logs.get("store")


class Histories:
    """``select`` answers from a file in ``data_dir``. ``retention`` returns how much of it
    is kept. Thread-safe."""

    def __init__(
        self,
        data_dir: Path,
        identity: str,
        keys: Keys,
        indexes: Indexes,
        *,
        reading: Reading,
        asides: Asides,
        retention: Callable[[], Retention],
    ) -> None:
        make_folder(data_dir)
        self._history = DerivedHistory(data_dir / FILE_NAME, identity)
        self._keys = keys
        self._indexes = indexes
        self._reading = reading
        self._asides = asides
        self._retention = retention
        self._turn = threading.Lock()
        self._is_behind = True
        self.trouble = ""

    def begin(self) -> None:
        """Fill the file from etcd, up to now. Raise StoreError.

        The current revision is read while neither ``follow`` nor another process can add to the
        file, so it is not older than anything that they have added.
        """
        with self._turn:
            self._is_behind = True
            with self._history.at_once():
                self._fill()
            self._is_behind = False
            self.trouble = ""

    def _fill(self) -> None:
        known = self._history.index
        revision = self._reading.head()[1]
        is_ahead = known > self._indexes.of(revision)  # etcd was set back
        pruned = self._pruned(revision)
        if is_ahead or known < pruned:
            self._history.clear()
            known = 0
        if pruned and not known:
            self._history.note_deleted()
        after = self._indexes.revision_of(known) if known else 0
        for rows in batches(self._rows(revision, after), _ROWS_AT_ONCE):
            self._history.append(rows, 0, self._retention())
        self._history.append([], self._indexes.of(revision))

    def follow(self, records: Sequence[Record]) -> None:
        """Add the transitions of new records. If the file cannot be written, ``begin`` has to add
        them later."""
        if not records:
            return
        rows = [row for each in records for row in transitions_of(each, self._indexes)]
        try:
            with self._turn:
                if not self._is_behind:
                    last = self._indexes.of(records[-1].revision)
                    self._history.append(rows, last, self._retention())
        except StoreError as error:
            self._is_behind = True
            if not self.trouble:
                _log.error("the history cannot be written on this server", reason=str(error))
            self.trouble = f"the history cannot be written: {error}"

    def select(self, query: HistoryQuery) -> Sequence[StoredTransition]:
        """Return the transitions that a query selects. Raise StoreError."""
        if self._is_behind:
            self.begin()
        return self._history.select(query)

    def deleted_until(self) -> int:
        """Return the index of the last change whose transitions may have been deleted; 0 for
        none."""
        return self._history.deleted_until

    def kept_from(self) -> int:
        """Return the index of the oldest change with a transition in the history, 0 for none."""
        oldest = self._history.oldest
        return oldest[1] if oldest else 0

    def _pruned(self, revision: int) -> int:
        found = self._reading.at(self._keys.pruned, revision)
        return int(found.value) if found else 0

    def _rows(self, revision: int, after: int) -> Iterator[StoredTransition]:
        return stored(self._reading, self._asides, self._keys, self._indexes, revision, after)

    def close(self) -> None:
        self._history.close()


def stored(
    reading: Reading, asides: Asides, keys: Keys, indexes: Indexes, revision: int, after: int = 0
) -> Iterator[StoredTransition]:
    """Yield the transitions in etcd as of ``revision``, in their order: all of them, or only those
    of records after the revision ``after``."""
    found = [
        (each.mod_revision, each.key, each.value)
        for each in reading.every(keys.histories, revision, newer=after and after + 1)
    ]
    for changed, _, value in sorted(found):
        yield from history_rows(asides.whole(value, revision), changed, indexes)
