"""The transitions of a change: those the planner derives from steps, and those a store keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from plugind.errors import UnknownOutcome
from plugind.feed.feed import Feed
from plugind.feed.instance_changes import instance_changes
from plugind.intake import Intake
from plugind.intake.transitions import cut
from plugind.model import (
    APPEARED,
    CAME,
    EXPECTED,
    FLAPPING,
    HEALTHY,
    LEFT,
    NODE_DOWN,
    NODE_UP,
    REASON,
    UNHEALTHY,
    VERSION,
    WENT,
    Committed,
    Declaration,
    HistoryQuery,
    PluginKey,
    Transition,
)
from plugind.model.times import SECOND
from plugind.schemas.nodes import Report
from plugind.schemas.plugins import PluginSchemas
from plugind.state import State
from plugind.state.flaps import ROWS, of_the_last_hour
from plugind.store.sqlite import SqliteStore
from plugind.types.registry import load_registry
from tests.support import taken

NODE = "11111111-2222-4333-8444-555555550000"
START = 1_700_000_000 // 3600 * 3600 * SECOND
REGISTRY = load_registry()
SCHEMAS = {name: PluginSchemas.of(type_) for name, type_ in REGISTRY.types.items()}


class Server:
    """A store that has other writers, its feed, and intake with the test's own clock."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.store = SqliteStore(None, folder, shared=True)
        rows = of_the_last_hour(self.store.history)
        self.feed = Feed(self.store, State.of(self.store.load(), rows))
        self.intake = Intake(
            self.store,
            self.feed,
            SCHEMAS,
            {name: str(origin) for name, origin in REGISTRY.origins.items()},
            clock=lambda: self.now,
        )

    def report(self, secret: str = "s", **plugins: Any) -> int:
        of = {id_: {"node": fingerprint} for id_, fingerprint in plugins.items()}
        return taken(self.intake, NODE, secret, Report("vm", plugins={"csi": of})).index

    def rows(self) -> list[Transition]:
        """Return all transitions, oldest first."""
        found = self.store.history(HistoryQuery(limit=1_000))
        return [each.transition for each in reversed(found)]

    def close(self) -> None:
        self.intake.close()
        self.feed.close()
        self.store.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.close()


def test_each_change_of_an_instance_is_one_row(server: Server) -> None:
    server.report(a={"Healthy": True, "ProviderVersion": "1"})
    server.now += SECOND
    server.report(a={"Healthy": True, "ProviderVersion": "2"})
    server.report(a={"Healthy": False, "HealthDescription": "fire"})
    server.report(a={"Healthy": False, "HealthDescription": "flood"})
    server.intake.silence([NODE], lambda node_id: START)
    server.intake.back(NODE)
    server.intake.declare([Declaration(PluginKey("csi", "a"), {"node": 3})])
    server.intake.forget_plugin(PluginKey("csi", "a"))
    found = [
        (each.kind, each.before, each.after, each.reason.partition(";")[0])
        for each in server.rows()
    ]
    assert found == [
        (APPEARED, "", "healthy", "healthy"),
        (VERSION, "1", "2", "healthy"),
        (UNHEALTHY, "healthy", "unhealthy", "fire"),
        (REASON, "fire", "flood", "flood"),
        (NODE_DOWN, "ready", "down", "nothing heard of node vm"),
        (UNHEALTHY, "unhealthy", "down", "nothing heard of node vm since 2023-11-14T22:00:00Z"),
        (NODE_UP, "down", "ready", ""),
        (UNHEALTHY, "down", "unhealthy", "flood"),
        (EXPECTED, "", "node: 3", ""),
        (LEFT, "unhealthy", "", "forgotten"),
    ]
    assert [each.since for each in server.rows()[4:6]] == [START, START]
    versions = {each.version for each in server.rows() if each.role}
    assert versions == {"1", "2"}


def test_an_instance_that_flaps_has_one_row_for_the_rest_of_the_hour(server: Server) -> None:
    for number in range(ROWS + 10):
        server.report(a={"Healthy": number % 2 == 0})
        server.now += 5 * SECOND
    *rows, last = server.rows()
    assert (len(rows), last.kind) == (ROWS, FLAPPING)
    assert (last.count, last.healthy_seconds) == (10, 25)
    server.now = START + 3600 * SECOND
    server.report(a={"Healthy": True})
    assert [each.kind for each in server.rows()[-2:]] == [FLAPPING, "healthy"]


def test_flapping_goes_on_after_a_restart(tmp_path: Path) -> None:
    server = Server(tmp_path)
    for number in range(2 * ROWS):
        server.report(a={"Healthy": number % 2 == 0}, b={"Healthy": number < 4})
        server.now += 5 * SECOND
        if number % 7 == 0:
            server.close()
            now, server = server.now, Server(tmp_path)
            server.now = now
    *rows, last = (each for each in server.rows() if each.id == "a")
    assert (len(rows), last.kind) == (ROWS, FLAPPING)
    assert (last.count, last.healthy_seconds) == (ROWS, 5 * ROWS // 2)
    assert last.until == server.now - 5 * SECOND
    assert [each.kind for each in server.rows() if each.id == "b"] == [APPEARED, UNHEALTHY]
    server.close()


class Hook:
    """A subscriber that records the arguments with which hooks would be called."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str, bool]] = []

    def follow(self, old: State, new: State, batch: Sequence[Committed]) -> None:
        for each in batch:
            for one in instance_changes(each.change, old, new):
                self.found.append((one.kind, one.id, one.healthy))

    def missed(self, old: State, new: State) -> None: ...


@pytest.mark.parametrize("rows", [ROWS, 0], ids=["rows", "flapping"])
def test_hooks_are_called_for_health_alone(
    server: Server, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Call no hook for a node that goes down if its instance was already unhealthy."""
    monkeypatch.setattr("plugind.intake.transitions.ROWS", rows)
    hook = Hook()
    server.feed.subscribe(hook)
    server.report(up={"Healthy": True}, bad={"Healthy": False})
    server.report(up={"Healthy": True}, bad={"Healthy": False, "HealthDescription": "flood"})
    server.intake.silence([NODE], lambda node_id: START)
    server.intake.back(NODE)
    server.intake.forget_node(NODE)
    assert sorted(hook.found[:2]) == [(CAME, "bad", False), (CAME, "up", True)]
    assert hook.found[2:4] == [(UNHEALTHY, "up", False), (HEALTHY, "up", True)]
    assert sorted(hook.found[4:]) == [(WENT, "bad", False), (WENT, "up", True)]


def test_a_reason_is_cut_between_characters() -> None:
    assert cut("x" * 300) == "x" * 256
    assert cut("é" * 200) == "é" * 128
    assert cut("x" + "é" * 200) == "x" + "é" * 127


def test_a_change_that_another_server_overtook_is_planned_again(
    server: Server, tmp_path: Path
) -> None:
    other = Server(tmp_path)
    try:
        first = server.report(a={"Healthy": True})
        assert NODE not in other.feed.state.nodes
        assert other.report(a={"Healthy": True}) == first, "the same again is nothing new"
        server.report(a={"Healthy": False}, b={"Healthy": True})
        other.intake.forget_node(NODE)
        assert server.report(c={"Healthy": True}) > first
        other.feed.catch_up()
        assert set(other.feed.state.ids_of("csi")) == {"c"}
        assert State.of(server.store.load()).usage == server.feed.state.usage
        assert other.feed.state.usage == server.feed.state.usage
    finally:
        other.close()


def test_unknown_outcome_names_what_to_do() -> None:
    assert str(UnknownOutcome("x")) == "the outcome is unknown: x; the write may be repeated"
