"""How available plugins were, as pages show it: a strip of the last 24 hours, and three windows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import floor

from plugind.api.availability import WINDOWS
from plugind.api.yielding import in_slices
from plugind.availability.reading import Availability
from plugind.availability.strips import Strips
from plugind.availability.sums import Sums, Window
from plugind.errors import StoreError
from plugind.model import PluginKey, history_of
from plugind.model.times import SECOND
from plugind.state import State

KEPT_SECONDS = 60
"""For how long the windows of a plugin are kept; a tenth of it where something happened to it."""

KEPT_MAXIMUM = 1_000

GOOD, SOME, BAD, UNKNOWN = "good", "some", "bad", "unknown"
_ALMOST_ALL = 0.9999
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """Hours next to each other that were alike: the first one, how many, and what they were."""

    first: int
    hours: int
    tone: str


@dataclass(frozen=True, slots=True)
class Share:
    """How available a plugin was in one role, by the names of the windows."""

    role: str
    by_window: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Day:
    """The last 24 hours of a plugin: runs of hours, and how available it was in all, in words."""

    runs: Sequence[Run]
    text: str


class Shares:
    """Finds what pages show of availability, and keeps it for a moment. Safe for threads."""

    def __init__(self, availability: Availability, strips: Strips) -> None:
        self._availability = availability
        self._strips = strips
        self._kept: dict[PluginKey, tuple[int, int, list[Share]]] = {}

    def days(self, state: State, keys: Iterable[PluginKey]) -> dict[PluginKey, Day]:
        """Return the last day of each plugin; of none while the history cannot be read."""
        try:
            found = self._strips.of(state, keys, time.time_ns())
        except StoreError:
            return {}
        return {key: _day(strip) for key, strip in found.items()}

    def windows(self, state: State, key: PluginKey) -> list[Share]:
        """Return how available a plugin was by role; none while the history cannot be read."""
        now, index = time.time_ns(), state.changed_at(history_of(key))
        at, of_index, found = self._kept.get(key, (0, 0, []))
        age = (now - at) / SECOND
        if age < KEPT_SECONDS and (index == of_index or age < KEPT_SECONDS / 10):
            return found
        try:
            found = self._measured(state, key, now)
        except StoreError:
            return []
        if len(self._kept) >= KEPT_MAXIMUM:
            self._kept = {}
        self._kept[key] = now, index, found
        return found

    def _measured(self, state: State, key: PluginKey, now: int) -> list[Share]:
        spans = [Window(now - span, now) for span in WINDOWS.values()]
        measured = self._availability.of_plugin(state, key, spans, now, in_slices)
        found = []
        for group, sums in measured.sums.items():
            by_window = zip(WINDOWS, sums, strict=True)
            found.append(Share(group.role, {name: percent(each) for name, each in by_window}))
        return found


def percent(sums: Sums) -> str:
    """Return the share of the expected instances that was healthy, "" where nothing is known. It is
    rounded down, so that a short failure does not show as none."""
    share = sums.availability
    return "" if share is None else f"{floor(round(share * 1e5, 2)) / 1e3:.3f} %"


def _day(strip: Sequence[Sums]) -> Day:
    total = Sums()
    for each in strip:
        total = total.plus(each)
    at, runs = 0, []
    for tone, alike in groupby(map(_tone, strip)):
        hours = len(list(alike))
        runs.append(Run(at, hours, tone))
        at += hours
    return Day(runs, percent(total) or "not known")


def _tone(sums: Sums) -> str:
    share = sums.availability
    if share is None:
        return UNKNOWN
    return GOOD if share >= _ALMOST_ALL else SOME if share >= _HALF else BAD
