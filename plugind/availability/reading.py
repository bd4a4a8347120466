"""Reads how available plugins and the instances of nodes were, from a state and from history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

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
from plugind.state import State
from plugind.state.flaps import HOUR
from plugind.store.paging import Select, newest_first

ROWS_MAXIMUM = 10_000
"""Transitions that are looked at for one plugin or node."""

Pace = Callable[[Iterable[StoredTransition]], Iterable[StoredTransition]]
"""Passes transitions on, with pauses for other threads."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The sums of each group over each window. Nothing is known of what was before ``since``, for
    too much happened after it; where a window begins later than that, all of it is known."""

    sums: Mapping[Group, Sequence[Sums]]
    since: int


class Availability:
    """Reads a store's ``history``, and its ``runs`` since a time. The process itself has run since
    ``started``. Safe for threads."""

    def __init__(self, history: Select, runs: Callable[[int], Sequence[Run]], started: int) -> None:
        self._history = history
        self._runs = runs
        self._started = started

    def of_plugin(
        self,
        state: State,
        key: PluginKey,
        windows: Sequence[Window],
        now: int,
        pace: Pace = iter,
        most: int = ROWS_MAXIMUM,
    ) -> Measured:
        """Return how available a plugin was, by its roles, from ``most`` transitions at most.

        The windows end ``now`` at the latest. Raise StoreError.
        """
        query = HistoryQuery(type=key.type, id=key.id)
        return self._measured(state, query, present_of(state, key), windows, now, pace, most)

    def of_node(
        self, state: State, node_id: str, windows: Sequence[Window], now: int, pace: Pace = iter
    ) -> Measured:
        """Return how available the instances of a node were, by their types and roles.

        The windows end ``now`` at the latest. Raise StoreError.
        """
        present = Present(_health(state, state.on_node(node_id)))
        query = HistoryQuery(node_id=node_id)
        return self._measured(state, query, present, windows, now, pace, ROWS_MAXIMUM)

    def _measured(
        self,
        state: State,
        query: HistoryQuery,
        present: Present,
        windows: Sequence[Window],
        now: int,
        pace: Pace,
        most: int,
    ) -> Measured:
        begin = min(window.start for window in windows)
        rows: list[Transition] = []
        since = 0
        for number, one in enumerate(pace(newest_first(self._history, query))):
            # A row of flapping stands for up to an hour after it.
            if one.transition.time < begin - HOUR:
                break
            if number == most:
                since = one.transition.time
                break
            if one.index <= state.index:
                rows.append(one.transition)
        runs = [*self._runs(begin), Run("", self._started, now)]
        known = [Window(min(max(since, start), end), end) for start, end in windows]
        return Measured(sums_of(rows, present, known, runs, now), since)


def present_of(state: State, key: PluginKey) -> Present:
    """Return the present health of a plugin's instances, and their declared numbers."""
    declaration = state.declarations.get(key)
    expected = declaration.expected if declaration else {}
    return Present(
        _health(state, state.of_plugin(key)),
        {Group(key.type, role): number for role, number in expected.items()},
    )


def _health(state: State, keys: Iterable[InstanceKey]) -> dict[InstanceKey, str]:
    """Return the health of instances as transitions have it."""
    found = {}
    for key in keys:
        one = state.on_node(key.node_id)[key]
        is_healthy = one.fingerprint.healthy and one.missing_since is None
        word = HEALTHY if is_healthy else UNHEALTHY
        found[key] = DOWN if state.nodes[key.node_id].status == DOWN else word
    return found
