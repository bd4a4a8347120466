"""Strips of hours: kept strips equal those computed again each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugind.availability import strips as module
from plugind.availability.strips import AGE, HOURS, STALE, Strip, Strips
from plugind.model import HistoryQuery, PluginKey, StoredTransition
from plugind.model.times import SECOND
from plugind.schemas.nodes import Report
from plugind.ui.availability import day_of
from tests.availability.test_reading import KEY, NODES, START, Server
from tests.support import taken


class Counting:
    """The history of a server; it counts how often it was read newest first."""

    def __init__(self, server: Server) -> None:
        self.reads = 0
        self._history = server.store.history

    def __call__(self, query: HistoryQuery) -> list[StoredTransition]:
        self.reads += not query.oldest_first
        return list(self._history(query))


def test_they_are_kept_while_nothing_happens(tmp_path: Path) -> None:
    server = Server(tmp_path)
    counting = Counting(server)
    server.availability._history = counting
    kept = Strips(server.availability)

    def strip(strips: Strips) -> Strip:
        return strips.of(server.feed.state, [KEY], server.now * SECOND)[KEY]

    try:
        server.do("report", NODES[0], {"node": True, "controller": True})
        server.do("report", NODES[1], {"node": False})
        server.do("declare", {"node": 3})
        first = strip(kept)
        assert len(first) == HOURS
        assert counting.reads == 1
        for pause in (100, 3500, 2 * 3600, 30 * 3600):
            server.now += pause
            found = strip(kept)
            assert counting.reads == 1
            assert found == strip(Strips(server.availability))
            counting.reads = 1
        server.do("report", NODES[1], {"node": True})
        server.now += AGE // SECOND
        changed = strip(kept)
        assert counting.reads == 2
        assert changed == strip(Strips(server.availability))
    finally:
        server.close()


def test_what_changes_without_pause_is_read_now_and_then(tmp_path: Path) -> None:
    server = Server(tmp_path)
    counting = Counting(server)
    server.availability._history = counting
    kept = Strips(server.availability)
    try:
        for number in range(60):
            server.do("report", NODES[0], {"node": number % 2 == 0})
            server.now += 1
            kept.of(server.feed.state, [KEY], server.now * SECOND)
        assert counting.reads == 6
    finally:
        server.close()


def test_a_plugin_that_is_not_there_has_an_empty_strip(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        strip = Strips(server.availability).of(server.feed.state, [KEY], server.now * SECOND)[KEY]
        assert all(sums.availability is None for sums in strip)
    finally:
        server.close()


def test_too_many_transitions_are_read_one_plugin_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path)
    keys = [PluginKey("csi", name) for name in "abc"]
    runs: list[int] = []
    server.availability._runs = lambda since: runs.append(since) or server.store.runs(since)
    kept = Strips(server.availability)

    def lived() -> int:
        return (server.now - START) * SECOND

    def known() -> str:
        """Return the plugins for which everything since the server's start is known."""
        found = kept.of(server.feed.state, keys, server.now * SECOND)
        return "".join(key.id for key in keys if day_of(found[key]).watched == lived())

    def change() -> None:
        for number in range(4):
            plugins = {key.id: {"node": {"Healthy": number % 2 == 0}} for key in keys}
            taken(server.intake, NODES[0], "s", Report("vm", plugins={"csi": plugins}))
            server.now += 3600

    try:
        change()
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 6)
        assert known() == "a"
        assert len(runs) == 1, "the runs are read once for all plugins"
        assert [known(), known(), known()] == ["ab", "abc", "abc"]
        change()
        assert known() == "", "what was read long ago does not go on"
        server.now += 3 * STALE // SECOND
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 100)
        assert known() == "abc"
        taken(
            server.intake,
            NODES[0],
            "s",
            Report("vm", plugins={"csi": {key.id: {} for key in keys}}),
        )
        server.now += AGE // SECOND
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 0)
        assert known() == "abc", "what was read just now goes on"
    finally:
        server.close()
