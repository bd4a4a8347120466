"""Availability as read from the real planner and store, whatever is reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugind.availability.reading import Availability, present_of
from plugind.availability.sums import Group, Sums, Window
from plugind.errors import NotFound
from plugind.feed.feed import Feed
from plugind.intake import Intake
from plugind.model import (
    DOWN,
    HEALTHY,
    Declaration,
    HistoryQuery,
    InstanceKey,
    PluginKey,
    Run,
)
from plugind.model.times import SECOND
from plugind.schemas.nodes import Report
from plugind.schemas.plugins import PluginSchemas
from plugind.state import State, flaps
from plugind.state.flaps import HOUR
from plugind.store.base import Retention
from plugind.store.sqlite import SqliteStore
from plugind.types.registry import load_registry
from tests.availability.worlds import Naive
from tests.support import taken

START = 1_700_000_000 // 3600 * 3600
NODES = [f"11111111-2222-4333-8444-55555555000{number}" for number in range(2)]
ROLES = ("controller", "node")
KEY = PluginKey("csi", "a")
REGISTRY = load_registry()
SCHEMAS = {name: PluginSchemas.of(type_) for name, type_ in REGISTRY.types.items()}

some_node = st.sampled_from(NODES)
EVENTS = st.one_of(
    st.tuples(
        st.just("report"),
        some_node,
        st.dictionaries(st.sampled_from(ROLES), st.none() | st.booleans()),
    ),
    st.tuples(st.just("silence"), some_node, st.integers(0, 9)),
    st.tuples(st.just("back"), some_node),
    st.tuples(st.just("forget_plugin")),
    st.tuples(st.just("forget_node"), some_node),
    st.tuples(
        st.just("declare"),
        st.none() | st.dictionaries(st.sampled_from(ROLES), st.integers(0, 3), min_size=1),
    ),
    st.tuples(st.just("restart"), st.integers(0, 9)),
)
LIVES = st.lists(st.tuples(st.integers(1, 9), EVENTS), min_size=6, max_size=30)


class Server:
    """A server with the test's own clock, which records each second what readers are shown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = START
        self.past: list[tuple[dict[InstanceKey, Any], Mapping[Group, int], bool]] = []
        self.changed: dict[InstanceKey, int] = {}
        self.runs = 0
        self.start()

    def start(self) -> None:
        self.store = SqliteStore(None, self.folder)
        rows = flaps.of_the_last_hour(self.store.history)
        self.feed = Feed(self.store, State.of(self.store.load(), rows))
        generations = {name: str(origin) for name, origin in REGISTRY.origins.items()}
        self.intake = Intake(
            self.store, self.feed, SCHEMAS, generations, clock=lambda: self.now * SECOND
        )
        self.runs += 1
        self.intake.mark(str(self.runs))
        start = self.now * SECOND
        self.availability = Availability(
            self.store.history,
            self.store.runs,
            lambda now: Run("", start, now),
            self.store.deleted_until,
        )

    def close(self) -> None:
        self.intake.mark(str(self.runs))
        self.intake.close()
        self.feed.close()
        self.store.close()

    def live(self, seconds: int, *, is_on: bool = True) -> None:
        present = present_of(self.feed.state, KEY)
        for _ in range(seconds):
            self.past.append((dict(present.instances), present.declared, is_on))
            self.now += 1

    def do(self, what: str, *about: Any) -> None:
        before = present_of(self.feed.state, KEY).instances
        try:
            getattr(self, f"_{what}")(*about)
        except NotFound:
            return
        after = present_of(self.feed.state, KEY).instances
        for key in before.keys() | after.keys():
            if before.get(key) != after.get(key):
                self.changed[key] = self.now

    def _report(self, node: str, roles: Mapping[str, bool | None]) -> None:
        """Report the plugin's roles: healthy, unhealthy, or gone."""
        of = {
            role: None if healthy is None else {"Healthy": healthy}
            for role, healthy in roles.items()
        }
        taken(self.intake, node, "s", Report("vm", plugins={"csi": {"a": of}}))

    def _silence(self, node: str, seconds: int) -> None:
        heard = self.now - seconds
        if node not in self.feed.state.nodes or self.feed.state.nodes[node].status == DOWN:
            return
        for key in present_of(self.feed.state, KEY).instances:
            if key.node_id == node:
                for second in range(max(heard, self.changed[key]), self.now):
                    self.past[second - START][0][key] = DOWN
        self.intake.silence([node], lambda each: heard * SECOND)

    def _back(self, node: str) -> None:
        self.intake.back(node)

    def _forget_plugin(self) -> None:
        self.intake.forget_plugin(KEY)

    def _forget_node(self, node: str) -> None:
        self.intake.forget_node(node)

    def _declare(self, declared: Mapping[str, int] | None) -> None:
        self.intake.declare([] if declared is None else [Declaration(KEY, declared)])

    def _restart(self, seconds: int) -> None:
        """Restart the server after some seconds in which it hears nothing."""
        self.close()
        self.live(seconds, is_on=False)
        self.start()

    def measured(self, windows: Sequence[Window]) -> Mapping[Group, Sequence[Sums]]:
        now = self.now * SECOND
        return self.availability.of_plugin(self.feed.state, KEY, windows, now).sums

    def counted(self, role: str, window: Window) -> Naive:
        found = Naive()
        first, last = (edge // SECOND - START for edge in window)
        for second in range(first, last):
            words, declared, is_on = self.past[second]
            there = [word for key, word in words.items() if key.role == role]
            number = declared.get(Group("csi", role))
            expected = len(there) if number is None else number
            away = 0 if number is not None else self._away(role, second)
            found.unknown += away if is_on else expected + away
            if is_on and expected:
                healthy = min(there.count(HEALTHY), expected)
                found.healthy += healthy
                found.node_down += min(there.count(DOWN), expected - healthy)
                found.observed += expected
                found.any_healthy += HEALTHY in there
                found.watched += 1
        found.unhealthy = found.observed - found.healthy - found.node_down
        return found

    def _away(self, role: str, second: int) -> int:
        """Return how many instances were seen before and after a second, but not in it."""

        def seen(past: Sequence[Any]) -> set[InstanceKey]:
            return {key for words, _, _ in past for key in words if key.role == role}

        before, after = seen(self.past[:second]), seen(self.past[second:])
        return len((before & after) - self.past[second][0].keys())


def lived(folder: Path, life: Sequence[tuple[int, Any]]) -> Server:
    server = Server(folder)
    for seconds, event in life:
        server.live(seconds)
        server.do(*event)
    server.live(1)
    return server


@settings(max_examples=150, deadline=None)
@given(life=LIVES, data=st.data())
def test_it_is_that_of_counting_what_readers_were_shown(life: list[Any], data: Any) -> None:
    with TemporaryDirectory() as folder:
        server = lived(Path(folder), life)
        try:
            seconds = st.integers(START, server.now)
            spans = data.draw(st.lists(st.tuples(seconds, seconds).map(sorted)))
            windows = [Window(a * SECOND, b * SECOND) for a, b in [(START, server.now), *spans]]
            found = server.measured(windows)
            for role in ROLES:
                sums = found.get(Group("csi", role), [Sums()] * len(windows))
                for window, got in zip(windows, sums, strict=True):
                    wanted = server.counted(role, window)
                    assert {name: getattr(got, name) / SECOND for name in vars(wanted)} == vars(
                        wanted
                    )
        finally:
            server.close()


@settings(max_examples=40, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=40))
def test_flapping_changes_no_sum(changes: list[tuple[int, bool]]) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for module in ("plugind.intake.transitions", flaps.__name__):
            patch.setattr(f"{module}.ROWS", 3)
        life = [(seconds, ("report", NODES[0], {"node": is_up})) for seconds, is_up in changes]
        server = lived(Path(folder), life)
        try:
            window = Window(START * SECOND, server.now * SECOND)
            sums = server.measured([window]).get(Group("csi", "node"), [Sums()])[0]
            wanted = server.counted("node", window)
            for name, seconds in vars(wanted).items():
                assert getattr(sums, name) / SECOND == pytest.approx(seconds, abs=1e-6), name
        finally:
            server.close()


def test_too_much_that_happened_is_not_looked_at(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        for number in range(20):
            server.do("report", NODES[0], {"node": number % 2 == 0})
            server.live(3600)
        now = server.now * SECOND
        windows = [Window(START * SECOND, now), Window(now - 15 * SECOND, now)]
        found = server.availability.of_plugin(server.feed.state, KEY, windows, now, most=5)
        whole, end = found.sums[Group("csi", "node")]
        assert found.since == now - 5 * HOUR
        assert whole.observed == 5 * HOUR
        assert end.observed == 15 * SECOND
        assert Run("1", START * SECOND, START * SECOND) in server.store.runs(0)
    finally:
        server.close()


@pytest.mark.parametrize("retention", [Retention(maximum=5), Retention(keep=3 * HOUR)])
def test_what_was_pruned_is_not_known(tmp_path: Path, retention: Retention) -> None:
    server = Server(tmp_path)
    server.store.retention = retention
    try:
        for number in range(6):
            server.do("report", NODES[0], {"node": number % 2 == 0})
            server.live(3600)
        server.do("report", NODES[1], {"node": True, "controller": True})
        oldest = server.store.history(HistoryQuery(limit=100))[-1]
        assert oldest.seq > 1
        now = server.now * SECOND
        windows = [Window(START * SECOND, now), Window(now - HOUR, now)]
        found = server.availability.of_plugin(server.feed.state, KEY, windows, now)
        assert found.since == oldest.transition.time + HOUR
        whole, end = found.sums[Group("csi", "node")]
        assert whole.watched == now - found.since
        assert end.watched == HOUR
    finally:
        server.close()


def test_a_row_that_was_not_looked_at_stands_for_what_flapped_in_its_hour(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        for number in range(70):
            server.do("report", NODES[0], {"node": number % 2 == 0})
            server.live(1)
        server.do("report", NODES[1], {"node": True})
        server.live(3600)
        now = server.now * SECOND
        windows = [Window(START * SECOND, now)]
        found = server.availability.of_plugin(server.feed.state, KEY, windows, now, most=1)
        assert found.since == START * SECOND + HOUR
    finally:
        server.close()
