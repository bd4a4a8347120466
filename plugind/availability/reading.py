"""Computes how available plugins and the instances of nodes were, from a state and from history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from plugind.availability.sums import Group, Present, Sums, Window, sums_of
from plugind.model import (
    DOWN,
    HEALTHY,
    UNHEALTHY,
    HistoryQuery,
    InstanceKey,
    PluginKey,
    Run,
    StoredTransition,
    Transition,
)
from plugind.model.changes import HISTORY_LIMIT
from plugind.state import State
from plugind.state.flaps import HOUR
from plugind.store.paging import Select, newest_first

ROWS_MAXIMUM = 10_000
"""Maximum number of transitions that are looked at for one plugin or node."""

T = TypeVar("T")


class Pace(Protocol):
    """Passes values on, with pauses for other threads."""

    def __call__(self, values: Iterable[T], /) -> Iterable[T]: ...


@dataclass(frozen=True, slots=True)
class Measured:
    """The sums of each group over each window. Nothing is known from before ``since``, because too
    much happened after it or older transitions are no longer kept; a window that begins after
    ``since`` is known completely. ``looked`` is how many transitions were looked at."""

    sums: Mapping[Group, Sequence[Sums]]
    since: int
    looked: int


class Availability:
    """Reads a store's ``history``, and its ``runs`` since a time. ``running`` returns the last run
    of this process, as of a time; ``deleted_until`` returns the index of the last change whose
    transitions may have been deleted from the history, 0 for none. Safe for threads."""

    def __init__(
        self,
        history: Select,
        runs: Callable[[int], Sequence[Run]],
        running: Callable[[int], Run],
        deleted_until: Callable[[], int],
    ) -> None:
        self._history = history
        self._runs = runs
        self._running = running
        self._deleted_until = deleted_until

    def of_plugin(
        self,
        state: State,
        key: PluginKey,
        windows: Sequence[Window],
        now: int,
        pace: Pace = iter,
        most: int = ROWS_MAXIMUM,
        runs: Sequence[Run] | None = None,
    ) -> Measured:
        """Return how available a plugin was, by its roles, from ``most`` transitions at most.

        No window ends after ``now``. ``runs`` are those since the first window, if they were read
        already. Raise StoreError.
        """
        query = HistoryQuery(type=key.type, id=key.id)
        present = present_of(state, key)
        return self._measured(state, query, present, windows, now, pace, most, runs)

    def of_node(
        self, state: State, node_id: str, windows: Sequence[Window], now: int, pace: Pace = iter
    ) -> Measured:
        """Return how available the instances of a node were, by their types and roles.

        No window ends after ``now``. Raise StoreError.
        """
        present = Present(_health(state, state.on_node(node_id)))
        query = HistoryQuery(node_id=node_id)
        return self._measured(state, query, present, windows, now, pace)

    def runs(self, since: int, now: int) -> list[Run]:
        """Return when servers ran since a time. Raise StoreError."""
        return [*self._runs(since), self._running(now)]

    def _measured(
        self,
        state: State,
        query: HistoryQuery,
        present: Present,
        windows: Sequence[Window],
        now: int,
        pace: Pace,
        most: int = ROWS_MAXIMUM,
        runs: Sequence[Run] | None = None,
    ) -> Measured:
        begin = min(window.start for window in windows)
        rows: list[Transition] = []
        since = looked = 0
        found = newest_first(self._history, query, min(most + 1, HISTORY_LIMIT))
        for looked, one in enumerate(pace(found), 1):
            # A row of flapping covers up to an hour after it.
            if one.transition.time < begin - HOUR:
                break
            if looked > most:
                since = _whole_after(one)
                break
            if one.index <= state.index:
                rows.append(one.transition)
        else:
            # Asked for after all was read, because the oldest may be deleted meanwhile.
            oldest = self._history(HistoryQuery(after=0, limit=1))
            since = _whole_after(oldest[0]) if oldest and self._deleted_until() else 0
        since = min(since, now)
        runs = self.runs(begin, now) if runs is None else runs
        known = [Window(min(max(since, start), end), end) for start, end in windows]
        return Measured(sums_of(rows, present, known, runs, now), since, min(looked, most))


def _whole_after(oldest: StoredTransition) -> int:
    """Return the time from which on everything is known if nothing before this transition is known.
    An instance that flapped may have an earlier row, which covers the rest of that hour."""
    return (oldest.transition.time // HOUR + 1) * HOUR


def present_of(state: State, key: PluginKey) -> Present:
    """Return the present health of a plugin's instances, and its declared numbers of them."""
    declaration = state.declarations.get(key)
    expected = declaration.expected if declaration else {}
    return Present(
        _health(state, state.of_plugin(key)),
        {Group(key.type, role): number for role, number in expected.items()},
    )


def _health(state: State, keys: Iterable[InstanceKey]) -> dict[InstanceKey, str]:
    """Return the health of instances, in the words that transitions use."""
    found = {}
    for key in keys:
        one = state.on_node(key.node_id)[key]
        is_healthy = one.is_healthy and one.missing_since is None
        word = HEALTHY if is_healthy else UNHEALTHY
        found[key] = DOWN if state.nodes[key.node_id].status == DOWN else word
    return found
