"""A store that is deliberately different from the embedded one: a server in memory that several
writers call, with a delay for each call and gaps between indexes, and without SQLite."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, ClassVar, cast

from plugind.errors import Compacted, StoreError
from plugind.model import (
    FLAPPING,
    Beat,
    Change,
    Committed,
    Declaration,
    Forgotten,
    HistoryQuery,
    Instance,
    KeptSecret,
    Node,
    Run,
    Session,
    Stamp,
    Step,
    StoredTransition,
    Transition,
)
from plugind.model.times import SECOND
from plugind.store import exporting
from plugind.store.base import (
    AHEAD,
    FIRST_INDEX,
    RUNS_KEPT,
    Conflict,
    Contents,
    Heard,
    Outcome,
    Progress,
    Restored,
    Store,
    Summary,
    no_progress,
)
from plugind.store.coding import decode, encode
from plugind.store.exporting import LastBeat, Stamped
from plugind.store.soundness import faults
from plugind.store.sqlite.log import LogLimits
from plugind.store.sqlite.numbering import Replaced
from plugind.store.sqlite.store import SqliteSettingsSchema
from plugind.store.staging import staged
from plugind.wire.fields import Record

DELAY = 0.002
"""The maximum duration of a call to the server in seconds."""


@dataclass
class Server:
    """The contents of one folder, and the number of stores that have it open."""

    identity: str = field(default_factory=lambda: str(uuid.uuid4()))
    index: int = FIRST_INDEX
    values: dict[str, dict[Any, Any]] = field(default_factory=dict)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    beats: dict[tuple[str, str], tuple[int, Beat]] = field(default_factory=dict)
    beats_kept: int = 1
    duty: object = None
    runs: dict[str, Run] = field(default_factory=dict)
    log: list[tuple[int, int, bytes]] = field(default_factory=list)
    start: int = FIRST_INDEX
    moved: dict[str, int] = field(default_factory=dict)
    rows: list[StoredTransition] = field(default_factory=list)
    seq: int = 0
    users: int = 0
    random: Random = field(default_factory=lambda: Random(7))
    turn: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def call(self) -> Iterator[None]:
        time.sleep(self.random.random() * DELAY)
        with self.turn:
            yield
        time.sleep(self.random.random() * DELAY)


_servers: dict[Path, Server] = {}

_GROUPS: dict[str, tuple[type[Any], Callable[[Any], Any]]] = {
    "nodes": (Node, lambda value: value.id),
    "instances": (Instance, lambda value: value.key),
    "declarations": (Declaration, lambda value: value.key),
    "forgotten": (Forgotten, lambda value: value.key),
    "kept_secrets": (KeptSecret, lambda value: value.node_id),
    "sessions": (Session, lambda value: value.key),
}


class MemoryStore(Store):
    settings_schema: ClassVar[type[Record]] = SqliteSettingsSchema

    is_shared = True

    def __init__(self, settings: Any, data_dir: Path, *, shared: bool = False) -> None:
        self._limits: LogLimits = settings
        self._server = _servers.setdefault(data_dir, Server())
        self._server.users += 1

    @property
    def identity(self) -> str:
        return self._server.identity

    def load(self) -> Contents:
        with self._server.call():
            return _contents(self._server)

    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        with self._server.call():
            server = self._server
            base = min((change.base for change in changes), default=0)
            bad = {scope for scope, index in server.moved.items() if index > base}
            outcomes: list[Outcome] = []
            for change in changes:
                unknown = change.reads if base < server.start else frozenset()
                if wrong := sorted(change.reads & (bad | unknown)):
                    bad |= change.writes
                    outcomes.append(Conflict(wrong[0]))
                else:
                    outcomes.append(self._take(change))
            for change, outcome in zip(changes, outcomes, strict=True):
                if isinstance(outcome, int):
                    server.moved.update(dict.fromkeys(change.writes, outcome))
            server.turn.notify_all()
            return outcomes

    def _take(self, change: Change) -> int:
        server = self._server
        server.index += server.random.randint(1, 3)
        for name, (_, key) in _GROUPS.items():
            for step in getattr(change, name):
                _apply(server.values.setdefault(name, {}), key(step.some), step)
        for step in change.nodes:
            if step.after is None:
                for key in [key for key in server.beats if key[0] == step.some.id]:
                    del server.beats[key]
        for resource in change.touched - change.removed:
            made = server.stamps.get(resource)
            first = (made.create_index, made.create_time) if made else (server.index, change.time)
            server.stamps[resource] = Stamp(first[0], server.index, first[1], change.time)
        for resource in change.removed:
            server.stamps.pop(resource, None)
        self._note(change)
        self._log(change)
        return server.index

    def _log(self, change: Change) -> None:
        log = self._server.log
        log.append((self._server.index, change.time, encode(change)))
        keep = round(self._limits.log_keep * SECOND)
        while len(log) > 1 and (
            log[0][1] < change.time - keep
            or sum(len(text) for _, _, text in log) > self._limits.log_max_size
        ):
            self._server.start = log.pop(0)[0]

    def _note(self, change: Change) -> None:
        rows, added = self._server.rows, 0
        if rows and change.transitions and rows[-1].transition.time - change.time > AHEAD:
            rows[:] = [
                each.changed(transition=_until(each.transition, change.time)) for each in rows
            ]
        newest = rows[-1].transition.time if rows else change.time
        oldest_kept = min(newest, change.time) - self.retention.keep
        for one in change.transitions:
            row = StoredTransition(self._server.seq + 1, self._server.index, one)
            same = [n for n, each in enumerate(rows) if _flapping(each) == _flapping(row)]
            if one.kind == FLAPPING and same:
                old = rows[same[0]]
                first = old.transition
                renewed = one.changed(time=first.time, before=first.before)
                rows[same[0]] = old.changed(transition=renewed)
                continue
            earliest = rows[-1].transition.time if rows else 0
            rows.append(row.changed(transition=one.changed(time=max(one.time, earliest))))
            self._server.seq += 1
            added += 1
        for _ in range(min(200, 2 * added)):
            is_old = len(rows) > 1 and rows[1].transition.time < oldest_kept
            if is_old or len(rows) > self.retention.maximum:
                del rows[0]

    def read(self, after: int, limit: int = 256) -> Sequence[Committed]:
        with self._server.call():
            if not self._server.start <= after <= self._server.index:
                raise Compacted(f"the log does not reach back to {after}")
            found = [each for each in self._server.log if each[0] > after][:limit]
        return [Committed(index, decode(text)) for index, _, text in found]

    def newest(self) -> int:
        with self._server.call():
            return self._server.index

    def wait(self, after: int, timeout: float) -> bool:
        with self._server.turn:
            return self._server.turn.wait_for(lambda: self._server.index > after, timeout)

    def history(self, query: HistoryQuery) -> Sequence[StoredTransition]:
        wanted = {"type": query.type, "id": query.id, "node_id": query.node_id}
        with self._server.call():
            found = [
                each
                for each in self._server.rows
                if all(not v or getattr(each.transition, k) == v for k, v in wanted.items())
                and (query.before is None or each.seq < query.before)
                and each.seq > (query.after or 0)
                and each.index > (query.after_index or 0)
            ]
            return (found if query.oldest_first else found[::-1])[: query.limit]

    def beat(self, beats: Mapping[str, Beat]) -> None:
        with self._server.call():
            for node_id, beat in beats.items():
                self._server.beats_kept += 1
                self._server.beats[node_id, beat.run] = (self._server.beats_kept, beat)

    def heard(self, after: int) -> Heard:
        with self._server.call():
            kept = self._server.beats.items()
            found = sorted((number, id_, beat) for (id_, _), (number, beat) in kept)
        newer = [each for each in found if each[0] > after]
        return Heard(newer[-1][0] if newer else after, [(id_, beat) for _, id_, beat in newer])

    def has_duty(self) -> bool:
        with self._server.call():
            self._server.duty = self._server.duty or self
            return self._server.duty is self

    def mark(self, run: str, now: int) -> None:
        with self._server.call():
            runs = self._server.runs
            start = runs[run].start if run in runs else now
            runs[run] = Run(run, start, max(start, now))
            others = sorted((each for each in runs.values() if each.id != run), key=_length)
            for each in others[: max(0, len(runs) - RUNS_KEPT)]:
                del runs[each.id]

    def runs(self, since: int) -> Sequence[Run]:
        with self._server.call():
            return [each for each in _runs(self._server) if each.end >= since]

    def close(self) -> None:
        self._server.users -= 1
        if self._server.duty is self:
            self._server.duty = None

    @classmethod
    def check(cls, settings: Any, data_dir: Path) -> Summary:
        contents = _contents(_servers[data_dir])
        if fault := next(faults(contents), ""):
            raise StoreError(fault)
        return Summary.of(1, contents)

    @classmethod
    def backup(cls, settings: Any, data_dir: Path, target: Path) -> Summary:
        return cls.export(settings, data_dir, target)

    @classmethod
    def restore(
        cls, settings: Any, data_dir: Path, source: Path, lists: Collection[str]
    ) -> Restored:
        return cls.import_(settings, data_dir, source, lists)

    @classmethod
    def export(
        cls, settings: Any, data_dir: Path, target: Path, progress: Progress = no_progress
    ) -> Summary:
        server = _servers[data_dir]
        with server.call():
            contents, rows = _contents(server), list(server.rows)
        counts, items = exporting.counts_of(contents, len(rows)), exporting.items_of(contents, rows)
        exporting.write(target, server.identity, contents.index, counts, items, progress)
        return Summary.of(1, contents)

    @classmethod
    def import_(
        cls,
        settings: Any,
        data_dir: Path,
        source: Path,
        lists: Collection[str],
        progress: Progress = no_progress,
    ) -> Restored:
        old = _servers.setdefault(data_dir, Server())
        with staged(source, data_dir, progress) as found:
            if old.users:
                raise StoreError("the store is in use")
            stamps = None if old.index == FIRST_INDEX else old.stamps.items()
            found.renumber(Replaced(old.index, stamps, old.identity), lists)
            new = Server(found.identity, found.index, start=found.index)
            for name, (kind, key) in _GROUPS.items():
                if kind is not Session:
                    new.values[name] = {key(value): value for value in found.read(kind)}
            new.stamps = {each.resource: each.stamp for each in found.read(Stamped)}
            new.beats = {(each.node_id, ""): (1, Beat(*each.beat)) for each in found.read(LastBeat)}
            new.runs = {run.id: run for run in found.read(Run)}
            new.rows = list(found.read(StoredTransition))
            new.seq = new.rows[-1].seq if new.rows else 0
        _servers[data_dir] = new
        return Restored(Summary.of(1, _contents(new)), None)


def _apply(values: dict[Any, Any], key: Any, step: Step[Any]) -> None:
    if step.after is None:
        values.pop(key, None)
    else:
        values[key] = step.after


def _flapping(row: StoredTransition) -> tuple[Any, ...]:
    one = row.transition
    return (one.kind, one.type, one.id, one.role, one.node_id, one.since)


def _until(one: Transition, now: int) -> Transition:
    """Return a transition with its times limited to ``now``."""
    if one.time <= now:
        return one
    return one.changed(time=now, since=min(one.since, now), until=min(one.until, now))


def _contents(server: Server) -> Contents:
    groups = {name: list(server.values.get(name, {}).values()) for name in _GROUPS}
    return Contents(
        server.index,
        **cast(Any, groups),
        stamps=dict(server.stamps),
        beats={id_: beat for (id_, _), (_, beat) in sorted(server.beats.items(), key=_heard)},
        runs=_runs(server),
    )


def _heard(kept: tuple[tuple[str, str], tuple[int, Beat]]) -> int:
    return kept[1][1].heard


def _start(run: Run) -> tuple[int, str]:
    return run.start, run.id


def _length(run: Run) -> tuple[int, int, str]:
    return run.end - run.start, run.start, run.id


def _runs(server: Server) -> list[Run]:
    return sorted(server.runs.values(), key=_start)
