"""A store that wraps another one, so that a subclass can break one method and keep all others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from plugind.model import Beat, Change, Committed, Contact, HistoryQuery, Run, StoredTransition
from plugind.store.base import (
    Contents,
    Heard,
    Outcome,
    OutcomeUnknown,
    Progress,
    Restored,
    Retention,
    Store,
    Summary,
    no_progress,
)


class Wrapped(Store):
    """Passes every call on to ``inner``. A subclass that sets ``kind`` can be opened directly."""

    kind: type[Store]

    def __init__(self, settings: Any, data_dir: Path, *, shared: bool = False) -> None:
        self.inner = self.kind(settings, data_dir, shared=shared)

    @classmethod
    def around(cls, kind: type[Store]) -> type[Wrapped]:
        """Return this class, wrapped around a kind of store."""
        members = {"kind": kind, "settings_schema": kind.settings_schema}
        return type(f"{cls.__name__}{kind.__name__}", (cls,), members)

    @property
    def retention(self) -> Retention:
        return self.inner.retention

    @retention.setter
    def retention(self, value: Retention) -> None:
        self.inner.retention = value

    @property
    def identity(self) -> str:
        return self.inner.identity

    @property
    def size(self) -> int | None:
        return self.inner.size

    def load(self) -> Contents:
        return self.inner.load()

    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return self.inner.commit(changes)

    def read(self, after: int, limit: int = 256) -> Sequence[Committed]:
        return self.inner.read(after, limit)

    @property
    def is_shared(self) -> bool:
        return self.inner.is_shared

    @property
    def contact(self) -> Contact:
        return self.inner.contact

    @property
    def trouble(self) -> str:
        return self.inner.trouble

    def newest(self) -> int:
        return self.inner.newest()

    def wait(self, after: int, timeout: float) -> bool:
        return self.inner.wait(after, timeout)

    def interrupt(self) -> None:
        self.inner.interrupt()

    def history(self, query: HistoryQuery) -> Sequence[StoredTransition]:
        return self.inner.history(query)

    def beat(self, beats: Mapping[str, Beat]) -> None:
        self.inner.beat(beats)

    def heard(self, after: int) -> Heard:
        return self.inner.heard(after)

    def has_duty(self) -> bool:
        return self.inner.has_duty()

    def mark(self, run: str, now: int) -> None:
        self.inner.mark(run, now)

    def deleted_until(self) -> int:
        return self.inner.deleted_until()

    def runs(self, since: int) -> Sequence[Run]:
        return self.inner.runs(since)

    def close(self) -> None:
        self.inner.close()

    @classmethod
    def check(cls, settings: Any, data_dir: Path) -> Summary:
        return cls.kind.check(settings, data_dir)

    @classmethod
    def backup(cls, settings: Any, data_dir: Path, target: Path) -> Summary:
        return cls.kind.backup(settings, data_dir, target)

    @classmethod
    def restore(
        cls, settings: Any, data_dir: Path, source: Path, lists: Collection[str]
    ) -> Restored:
        return cls.kind.restore(settings, data_dir, source, lists)

    @classmethod
    def export(
        cls, settings: Any, data_dir: Path, target: Path, progress: Progress = no_progress
    ) -> Summary:
        return cls.kind.export(settings, data_dir, target, progress)

    @classmethod
    def import_(
        cls,
        settings: Any,
        data_dir: Path,
        source: Path,
        lists: Collection[str],
        progress: Progress = no_progress,
    ) -> Restored:
        return cls.kind.import_(settings, data_dir, source, lists, progress)


class Unsure(Wrapped):
    """Loses the answer to each commit that was done, or the commit itself."""

    def __init__(self, inner: Store, *, is_done: bool) -> None:
        self.inner = inner
        self._is_done = is_done

    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        if self._is_done:
            self.inner.commit(changes)
        return [OutcomeUnknown("no answer in time") for _ in changes]
