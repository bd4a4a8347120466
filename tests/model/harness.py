"""The real intake, store and catalogue on a file that survives restarts, as readers see them.

A watcher is parked on every resource.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from plugind.catalogue import Catalogue, Reading
from plugind.errors import StoreError
from plugind.feed.feed import Feed
from plugind.intake import Intake
from plugind.model import NODES, Change, PluginKey, node_of, plugins_of
from plugind.model.times import SECOND
from plugind.schemas.plugins import PluginSchemas
from plugind.serve.timer import Timer
from plugind.state import State
from plugind.store.sqlite import SqliteStore
from plugind.types.registry import load_registry
from tests.model import documents
from tests.model.naive import TYPE
from tests.promises import PATIENCE
from tests.waiting import wait

_REGISTRY = load_registry()
_SCHEMAS = {name: PluginSchemas.of(type_) for name, type_ in _REGISTRY.types.items()}

PAUSE = 0.001
"""Seconds between two announcements of a list's changes: few, so that steps can follow quickly."""

LIST = plugins_of(TYPE)
PLUGINS = [PluginKey(TYPE, id_).resource for id_ in [*documents.PLUGINS, "d"]]
RESOURCES = [LIST, *PLUGINS, NODES, *map(node_of, documents.NODES)]


class FullDisk(SqliteStore):
    """The real store; its disk is full when a test says so."""

    is_full = False

    def commit(self, changes: Sequence[Change]) -> Sequence[int]:
        if self.is_full:
            raise StoreError("the disk is full")
        return super().commit(changes)


class Seen(NamedTuple):
    """One answer, as of the index ``at``: its content (None for 404) without the times of changes,
    and the indexes at which its resource was created and modified."""

    at: int
    said: Any
    created: int
    modified: int


class Watcher(threading.Thread):
    """Wait for one resource to change, again and again."""

    def __init__(self, resource: str) -> None:
        super().__init__(daemon=True)
        self.resource = resource
        self.index = 0
        self.woken = threading.Event()
        self._tasks: SimpleQueue[Catalogue | None] = SimpleQueue()
        self.start()

    def park(self, catalogue: Catalogue, index: int) -> None:
        self.index = index
        self.woken.clear()
        self._tasks.put(catalogue)

    def run(self) -> None:
        while (catalogue := self._tasks.get()) is not None:
            wait(catalogue, self.resource, self.index, 60.0)
            self.woken.set()

    def close(self) -> None:
        self._tasks.put(None)
        self.join(PATIENCE)


class Harness:
    """``now`` is the wall clock of the intake, in nanoseconds; ``patience`` is the number of
    seconds that a watcher may take to wake."""

    def __init__(self, folder: Path, patience: float) -> None:
        self._folder = folder
        self._patience = patience
        self.now = 1_700_000_000 * SECOND
        self.watchers = {resource: Watcher(resource) for resource in RESOURCES}
        self._open()

    def _open(self) -> None:
        self.store = FullDisk(None, self._folder)
        contents = self.store.load()
        self.timer = Timer("pacing")
        self.feed = Feed(self.store, State.of(contents))
        self.catalogue = Catalogue(self.feed, _SCHEMAS, pause=PAUSE, later=self.timer.later)
        self.intake = Intake(
            self.store,
            self.feed,
            _SCHEMAS,
            {name: str(origin) for name, origin in _REGISTRY.origins.items()},
            clock=lambda: self.now,
        )
        self.feed.start()
        for watcher in self.watchers.values():
            watcher.park(self.catalogue, self.look(watcher.resource).at)

    def _shut(self) -> None:
        self.intake.close()
        self.feed.close()
        self.catalogue.end()
        self.timer.close()
        self.store.close()
        for watcher in self.watchers.values():
            assert watcher.woken.wait(PATIENCE), "the catalogue closed, and a watcher sleeps on"

    def restart(self) -> None:
        self._check_usage()
        self._shut()
        self._open()

    def _check_usage(self) -> None:
        """Fail unless the usage tracked step by step equals the usage of everything stored."""
        assert self.feed.state.usage == State.of(self.store.load()).usage

    def close(self) -> None:
        self._shut()
        for watcher in self.watchers.values():
            watcher.close()

    def look(self, resource: str) -> Seen:
        reading = self._read(resource)
        said = None if reading.body is None else json.loads(reading.body)
        if not isinstance(said, dict):
            return Seen(reading.index, said, 0, reading.index)
        created, modified = said["CreateIndex"], said.pop("ModifyIndex")
        said.pop("ModifyTime", None)
        return Seen(reading.index, said, created, modified)

    def _read(self, resource: str) -> Reading:
        match resource.split("/"):
            case ["plugin", type_, id_]:
                return self.catalogue.plugin(PluginKey(type_, id_))
            case ["plugins", type_]:
                return self.catalogue.plugins(type_)
            case ["node", node_id]:
                return self.catalogue.node(node_id)
            case _:
                return self.catalogue.nodes()

    def check_woken(self, due: set[str]) -> None:
        """Fail unless the watchers of ``due`` resources wake and all others stay asleep."""
        for resource in sorted(due):
            watcher = self.watchers[resource]
            assert watcher.woken.wait(self._patience), f"{resource} changed, its watcher sleeps on"
            self._check_is_due(resource, watcher.index)
            watcher.park(self.catalogue, self.look(resource).at)
        until = time.monotonic() + self._patience
        while self.catalogue.parked != len(RESOURCES):
            assert time.monotonic() < until, "not all watchers are parked again"
            time.sleep(0.0002)
        awake = [w.resource for w in self.watchers.values() if w.woken.is_set()]
        assert not awake, f"woken for nothing: {awake}"

    def _check_is_due(self, resource: str, index: int) -> None:
        """Fail unless a query with the index from before the change is answered at once."""
        assert wait(self.catalogue, resource, index, 0.0), (
            f"{resource} changed before the wait, and it sleeps"
        )
