"""The embedded store: one SQLite file.

It uses WAL with synchronous FULL: a commit is on disk before it returns
(https://sqlite.org/wal.html, "Durability"). This module turns everything that SQLite raises into a
StoreError.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from plugind.errors import StoreError
from plugind.model import Beat, Change, Committed, HistoryQuery, Run, StoredTransition
from plugind.plugin_type import hookimpl
from plugind.store.base import (
    Contents,
    Heard,
    Outcome,
    Progress,
    Restored,
    Store,
    Summary,
    no_progress,
)
from plugind.store.conflicts import conflicts
from plugind.store.sqlite import applying, history, log, maintenance, restoring, runs, transfer
from plugind.store.sqlite.beats import FILE_NAME as BEATS_FILE_NAME
from plugind.store.sqlite.beats import TURN_NAME as BEATS_TURN_NAME
from plugind.store.sqlite.beats import Beats
from plugind.store.sqlite.checkpoints import BUSY, Checkpoints
from plugind.store.sqlite.duty import FILE_NAME as DUTY_FILE_NAME
from plugind.store.sqlite.duty import Duty
from plugind.store.sqlite.file import (
    FILE_NAME,
    TEMP_IN_MEMORY,
    migrate,
    opened,
    transaction,
    translated,
)
from plugind.store.sqlite.file_guard import Guard, check_before_opening
from plugind.store.sqlite.place import check_place
from plugind.store.sqlite.published import FILE_NAME as INDEX_NAME
from plugind.store.sqlite.published import Published
from plugind.store.sqlite.rows import BEATS, contents, head
from plugind.store.sqlite.settings import SqliteSettings, SqliteSettingsSchema
from plugind.store.sqlite.sharing import LOCK_NAME, Membership, make_folder
from plugind.store.sqlite.turn import Turn
from plugind.store.sqlite.wake import Alone, Wake

TURN_NAME = f"{FILE_NAME}.turn"

FILES = (
    *(f"{FILE_NAME}{part}" for part in ("", "-wal", "-shm")),
    *(f"{BEATS_FILE_NAME}{part}" for part in ("", "-wal", "-shm")),
    *(LOCK_NAME, TURN_NAME, BEATS_TURN_NAME, INDEX_NAME, DUTY_FILE_NAME),
)
"""The files in ``data_dir`` that a server reads and writes."""

OPENING = 60.0
"""Seconds that a process waits for another one that creates or migrates the store."""

RECENT = 512
"""Number of own changes that ``read`` returns as they were committed, without reading the file."""


class SqliteStore(Store):
    """Keeps everything in ``data_dir/plugind.db``; a lock file keeps other processes out.

    With ``shared``, only processes of other servers are kept out, and several processes may have
    the store open, each with its own object.
    """

    settings_schema = SqliteSettingsSchema

    def __init__(self, settings: Any, data_dir: Path, *, shared: bool = False) -> None:
        self._path = data_dir / FILE_NAME
        self._settings = settings or SqliteSettings()
        self._shared = shared
        self._recent: dict[int, Committed] = {}
        self._reading = threading.Lock()
        with ExitStack() as undo, translated(self._path):
            make_folder(data_dir)
            check_place(data_dir, shared=shared)
            self._turns = self._turns_of(data_dir, undo) if shared else ()
            with self._turn(OPENING):
                self._membership = Membership(data_dir, self._settings, shared=shared)
                undo.callback(self._membership.close)
                self._open(data_dir, undo)
                if shared:
                    self._membership.admit()
            undo.pop_all()

    def _turns_of(self, data_dir: Path, undo: ExitStack) -> tuple[Turn, ...]:
        turns = []
        for name in (TURN_NAME, BEATS_TURN_NAME):
            turns.append(Turn(data_dir / name, self._settings.lock_timeout))
            undo.callback(turns[-1].close)
        return tuple(turns)

    def _open(self, data_dir: Path, undo: ExitStack) -> None:
        """Open the files, creating or migrating them if no other process has them open."""
        check_before_opening(self._path)
        if not self._path.exists():
            # It contains hashes of nodes' secrets. SQLite creates its logs with the same mode.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._db, self._reader = (self._connected(undo) for _ in range(2))
        migrate(self._db, self._path)
        self._identity, self._index = head(self._db)
        self._checkpoints = Checkpoints(self._db, self._path)
        is_first, turn = self._membership.is_first, self._turns[1] if self._turns else None
        self._beats = Beats(data_dir, self._identity, is_first=is_first, turn=turn)
        undo.callback(self._beats.close)
        # A backup, or an older version, has them in the store's own file.
        if beats := {node_id: Beat(*rest) for node_id, *rest in BEATS.rows(self._db)}:
            self._beats.put(beats)
            self._db.execute("DELETE FROM beats")
        log.drop_old_scopes(self._db)
        self._duty = Duty(data_dir) if self._shared else None
        if self._duty:
            undo.callback(self._duty.close)
        self._wake: Wake = Alone(lambda: self._index)
        self._looker = self._connected(undo) if self._shared else None
        if self._looker:
            self._wake = Published(data_dir, partial(self._look, self._looker))
        undo.callback(self._wake.close)
        self._guard = Guard(self._path, *([data_dir / INDEX_NAME] if self._shared else []))

    def _connected(self, undo: ExitStack) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY,
            cached_statements=256,
        )
        undo.callback(db.close)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(TEMP_IN_MEMORY)
        return db

    def _turn(self, patience: float | None = None) -> AbstractContextManager[None]:
        return self._turns[0].held(patience) if self._turns else nullcontext()

    @property
    def identity(self) -> str:
        return self._identity

    @property
    def is_shared(self) -> bool:
        return self._shared

    @property
    def trouble(self) -> str:
        try:
            duty = self._duty.trouble() if self._duty else ""
            texts = (duty, self._wake.trouble(), *(turn.trouble() for turn in self._turns))
        except OSError as error:  # such as too many open files
            return f"{error.filename or self._path}: {error.strerror}"
        return "; ".join(text for text in texts if text)

    @property
    def size(self) -> int:
        total = 0
        for name in FILES:
            with suppress(FileNotFoundError):
                total += self._path.with_name(name).stat().st_size
        return total

    def load(self) -> Contents:
        with self._read():
            with transaction(self._reader, "DEFERRED"):
                found = contents(self._reader)
            self._reader.execute("PRAGMA shrink_memory")  # these pages are not read again soon
        there = {node.id for node in found.nodes}
        beats = {node_id: beat for node_id, beat in self._beats.all().items() if node_id in there}
        return replace(found, beats=beats)

    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        with translated(self._path), self._turn():
            outcomes, numbered = self._transact(changes)
            if numbered:
                # Before the next writer publishes, so that the index never falls.
                self._wake.publish(numbered[-1].index)
                self._checkpoints.after_commit()
        if numbered:
            self._committed(numbered)
        return outcomes

    def _transact(self, changes: Sequence[Change]) -> tuple[list[Outcome], list[Committed]]:
        """Commit changes. Return the outcome of each, and those that were committed."""
        numbered: list[Committed] = []
        outcomes: list[Outcome] = []
        with transaction(self._db):
            last, size = self._db.execute("SELECT last_index, log_size FROM store").fetchone()
            # The outcome of the last commit may have been missed: use the index in the file.
            self._index = max(self._index, last)
            moved = partial(log.moved, self._db, last, shared=self._shared)
            failed = conflicts(changes, moved)
            for change, conflict in zip(changes, failed, strict=True):
                if conflict is None:
                    numbered.append(Committed(last + len(numbered) + 1, change))
                outcomes.append(conflict or numbered[-1].index)
            if numbered:
                applying.apply(self._db, numbered)
                size = log.append(self._db, numbered, size, self._settings, shared=self._shared)
                history.append(self._db, numbered, self.retention)
            self._db.execute(
                "UPDATE store SET last_index = ?, log_size = ?", (last + len(numbered), size)
            )
            self._guard.check(lambda: self._holds(last))
        return outcomes, numbered

    def _committed(self, numbered: Sequence[Committed]) -> None:
        self._recent |= {each.index: each for each in numbered}
        for index in list(self._recent)[:-RECENT]:
            del self._recent[index]
        self._index = numbered[-1].index
        if gone := [
            step.some.id for each in numbered for step in each.change.nodes if step.after is None
        ]:
            with suppress(StoreError):  # they are not loaded without their nodes
                self._beats.drop(gone)

    def read(self, after: int, limit: int = 256) -> Sequence[Committed]:
        own = list(islice(self._own(after), limit))
        after = own[-1].index if own else after
        if len(own) == limit or after == self._wake.newest_at_once():
            return own
        with self._read():
            return [*own, *log.read(self._reader, after, limit - len(own), self._recent)]

    def _own(self, after: int) -> Iterator[Committed]:
        while (found := self._recent.get(after := after + 1)) is not None:
            yield found

    def newest(self) -> int:
        return self._wake.newest()

    def newest_at_once(self) -> int | None:
        return self._wake.newest_at_once()

    def wait(self, after: int, timeout: float) -> bool:
        return self._wake.wait(after, timeout)

    def wait_for_others(self, after: int, timeout: float) -> bool:
        return self._wake.wait(after, timeout, for_others=True)

    def interrupt(self) -> None:
        self._wake.interrupt()

    def history(self, query: HistoryQuery) -> Sequence[StoredTransition]:
        with self._read():
            return history.select(self._reader, query)

    @contextmanager
    def _read(self) -> Iterator[None]:
        with translated(self._path), self._reading:
            yield

    def _look(self, db: sqlite3.Connection) -> int:
        """Return the index that the file has."""
        with translated(self._path):
            return head(db)[1]

    def beat(self, beats: Mapping[str, Beat]) -> None:
        self._beats.put(beats)

    def heard(self, after: int) -> Heard:
        return self._beats.heard(after)

    def has_duty(self) -> bool:
        return self._duty is None or self._duty.take()

    def mark(self, run: str, now: int) -> None:
        with translated(self._path), self._turn(), transaction(self._db):
            runs.mark(self._db, run, now)

    def runs(self, since: int) -> Sequence[Run]:
        with self._read():
            return runs.select(self._reader, since)

    def _holds(self, index: int) -> bool:
        """Return whether the files, opened again, contain this store at an index."""
        with opened(self._path, "ro") as db:
            return head(db) == (self._identity, index)

    def close(self) -> None:
        with ExitStack() as until_end, translated(self._path):
            for turn in self._turns:
                until_end.callback(turn.close)
            until_end.callback(self._membership.close)
            if self._duty:
                until_end.callback(self._duty.close)
            until_end.callback(self._beats.close)
            until_end.callback(self._db.close)
            self._wake.close()
            if self._looker:
                self._looker.close()
            with self._reading:
                self._reader.close()

    @classmethod
    def check(cls, settings: Any, data_dir: Path) -> Summary:
        return maintenance.check(data_dir / FILE_NAME)

    @classmethod
    def backup(cls, settings: Any, data_dir: Path, target: Path) -> Summary:
        return maintenance.backup(data_dir / FILE_NAME, target)

    @classmethod
    def restore(
        cls, settings: Any, data_dir: Path, source: Path, lists: Collection[str]
    ) -> Restored:
        return restoring.restore(source, data_dir, lists)

    @classmethod
    def export(
        cls, settings: Any, data_dir: Path, target: Path, progress: Progress = no_progress
    ) -> Summary:
        return transfer.export(data_dir / FILE_NAME, target, progress)

    @classmethod
    def import_(
        cls,
        settings: Any,
        data_dir: Path,
        source: Path,
        lists: Collection[str],
        progress: Progress = no_progress,
    ) -> Restored:
        return transfer.import_(source, data_dir, lists, progress)


@hookimpl
def plugind_stores() -> Mapping[str, type[Store]]:
    return {"sqlite": SqliteStore}
