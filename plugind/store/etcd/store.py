"""The store on etcd, as it is registered with plugind.

Modules that need gRPC are imported only when such a store is used: most servers use another one.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from plugind.model import Beat, Change, Committed, Contact, HistoryQuery, Run, StoredTransition
from plugind.plugin_type import hookimpl
from plugind.store.base import (
    Contents,
    Heard,
    Outcome,
    Progress,
    Restored,
    Retention,
    Store,
    Summary,
    no_progress,
)
from plugind.store.etcd.settings import EtcdSettings, EtcdSettingsSchema

MOST_TRANSITIONS = 100_000
"""Maximum number of transitions kept in etcd, unless the configuration sets another."""


class EtcdStore(Store):
    """Keeps everything below a prefix in etcd, for any number of servers. Queries of the history
    are answered from a file in ``data_dir``, which is filled from etcd."""

    settings_schema = EtcdSettingsSchema
    has_other_servers = True
    retention = Retention(maximum=MOST_TRANSITIONS)

    def __init__(self, settings: Any, data_dir: Path, *, shared: bool = False) -> None:
        opened = _loaded("opened:Opened")
        self._opened = opened(settings or EtcdSettings(), data_dir, lambda: self.retention)

    @property
    def is_shared(self) -> bool:
        return True

    @property
    def identity(self) -> str:
        return str(self._opened.identity)

    @property
    def size(self) -> int | None:
        found: int | None = self._opened.size
        return found

    @property
    def contact(self) -> Contact:
        found: Contact = self._opened.contact
        return found

    @property
    def trouble(self) -> str:
        return str(self._opened.trouble)

    def load(self) -> Contents:
        found: Contents = self._opened.load()
        return found

    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        found: Sequence[Outcome] = self._opened.commit(changes)
        return found

    def read(self, after: int, limit: int = 256) -> Sequence[Committed]:
        found: Sequence[Committed] = self._opened.read(after, limit)
        return found

    def newest(self) -> int:
        return int(self._opened.newest())

    def wait(self, after: int, timeout: float) -> bool:
        return bool(self._opened.wait(after, timeout))

    def interrupt(self) -> None:
        self._opened.interrupt()

    def history(self, query: HistoryQuery) -> Sequence[StoredTransition]:
        found: Sequence[StoredTransition] = self._opened.history(query)
        return found

    def deleted_until(self) -> int:
        return int(self._opened.deleted_until())

    def beat(self, beats: Mapping[str, Beat]) -> None:
        self._opened.beat(beats)

    def heard(self, after: int) -> Heard:
        found: Heard = self._opened.heard(after)
        return found

    def has_duty(self) -> bool:
        return bool(self._opened.has_duty())

    def mark(self, run: str, now: int) -> None:
        self._opened.mark(run, now)

    def runs(self, since: int) -> Sequence[Run]:
        found: Sequence[Run] = self._opened.runs(since)
        return found

    def close(self) -> None:
        self._opened.close()

    @classmethod
    def check(cls, settings: Any, data_dir: Path) -> Summary:
        found: Summary = _loaded("replacing:check")(settings)
        return found

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
        found: Summary = _loaded("replacing:export")(settings, target, progress)
        return found

    @classmethod
    def import_(
        cls,
        settings: Any,
        data_dir: Path,
        source: Path,
        lists: Collection[str],
        progress: Progress = no_progress,
    ) -> Restored:
        replace = _loaded("replacing:import_")
        found: Restored = replace(settings, data_dir, source, lists, progress)
        return found


def _loaded(name: str) -> Any:
    """Return a part of this package that needs gRPC."""
    # gRPC writes its own lines to standard error, which are not in the format of the log.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return resolve_name(f"{__package__}.{name}")


@hookimpl
def plugind_stores() -> Mapping[str, type[Store]]:
    return {"etcd": EtcdStore}
