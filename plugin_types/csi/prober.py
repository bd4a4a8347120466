"""Fingerprints the CSI drivers of this machine."""

from __future__ import annotations

import glob
import os
import threading
from collections.abc import Callable, Collection, Mapping
from functools import cached_property, partial

from plugin_types.csi import ledger
from plugin_types.csi.examiner import Examination, Examiner
from plugin_types.csi.facts import Facts
from plugin_types.csi.finding import (
    Target,
    find_targets,
    folders_to_watch,
    unreadable_folders,
)
from plugin_types.csi.register import Register, Results
from plugin_types.csi.settings import CsiSettings
from plugin_types.csi.sockets import too_long
from plugind.plugin_type import ANY_ROLE, Prober, Schedule
from plugind.toolbox.folders import watch_forever
from plugind.toolbox.state_file import StateFile
from plugind.toolbox.trust import why_diverted

REMEMBERED_MAXIMUM = 1_000
"""The number of drivers that are gone but whose facts are remembered."""

_UNREADABLE_SHOWN = 3


class CsiProber(Prober):
    """Finds sockets, and keeps a connection to the driver behind each."""

    def __init__(self, settings: CsiSettings) -> None:
        self._settings = settings
        self._changed: Callable[[str | None], None] = lambda name: None
        self._lock = threading.Lock()
        self._found: frozenset[Target] = frozenset()
        self._examiners: dict[Target, Examiner] = {}
        self._remembered: dict[str, Facts] = {}

    @cached_property
    def _file(self) -> StateFile:
        return StateFile(self.state_dir, ledger.FILE)

    @cached_property
    def _register(self) -> Register:
        return Register(self._settings.gc_threshold, ledger.load(self._file))

    def discover(self) -> Mapping[str, Target]:
        with self._lock:
            missing = [
                path
                for path in list(self._register.ledger.sockets)
                if not os.path.lexists(path) and self._register.lives_on(path)
            ]
        targets = find_targets(self._settings, missing)
        with self._lock:
            self._found = frozenset(targets.values())
        return targets

    def instances_of(self, target: Target) -> Collection[tuple[str, str]]:
        """Return the instance that the socket's path or block shows; nothing if only its driver
        knows the ID."""
        return [] if target.driver_names else [(target.id, target.role or ANY_ROLE)]

    def schedule(self, target: Target) -> Schedule:
        return target.schedule

    def is_configured(self, target: Target) -> bool:
        """Return whether an ``instance`` block names the socket."""
        return target.named

    def trouble(self) -> str:
        """Return the folders of globs that the agent may not read, and the sockets that are hidden
        because their half is unknown."""
        folders = unreadable_folders(self._settings.sockets)
        more = len(folders) - _UNREADABLE_SHOWN
        words = [f"the agent may not read {folder}" for folder in folders[:_UNREADABLE_SHOWN]]
        if more > 0:
            words.append(f"nor {more} more folders")
        with self._lock:
            hidden = self._register.hidden
        return "; ".join(filter(None, [*words, hidden]))

    def watch(self, changed: Callable[[str | None], None]) -> None:
        self._changed = changed
        blocks = (block for blocks in self._settings.instance.values() for block in blocks)
        endpoints = (glob.escape(block.endpoint) for block in blocks)
        patterns = (*self._settings.sockets, *endpoints)
        if patterns:
            watch_forever(lambda: folders_to_watch(patterns), partial(changed, None))

    def probe(self, target: Target) -> Results:
        if problem := too_long(target.path):
            return self._conclude(target, Examination(problem))
        with self._lock:
            examiner = self._examiners.get(target)
            if examiner is None:
                if target not in self._found:
                    return {}  # just closed; if it were opened again, nothing would close it
                examiner = Examiner(
                    target,
                    self._settings,
                    lambda: self._changed(target.path),
                    self._remembered.pop(target.path, None),
                )
                self._examiners[target] = examiner
            self._register.begin(target.path)
        if problem := why_diverted(target.path):
            self._disconnect(target)
            return self._conclude(target, Examination(problem))
        return self._conclude(target, examiner.examine())

    def close(self, target: Target) -> None:
        self._disconnect(target)
        with self._lock:
            still_there = any(other.path == target.path for other in self._found)
            concerned = [] if still_there else self._register.leave(target.path)
        for path in concerned:
            self._changed(path)

    def _disconnect(self, target: Target) -> None:
        """Close the connection to the driver, and remember the facts about the driver.

        Otherwise gRPC would open the connection again by itself.
        """
        with self._lock:
            examiner = self._examiners.pop(target, None)
            if examiner and examiner.facts:
                self._remembered[target.path] = examiner.facts
                if len(self._remembered) > REMEMBERED_MAXIMUM:
                    del self._remembered[next(iter(self._remembered))]
        if examiner:
            examiner.close()

    def _conclude(self, target: Target, found: Examination) -> Results:
        with self._lock:
            if target not in self._found:
                return {}
            results = self._register.conclude(target, found)
            self._register.ledger.save(self._file)
        return results
