"""Runs of a server process end at gaps in its clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plugind.availability.reading import Availability
from plugind.availability.sums import Group, Window
from plugind.errors import StoreError
from plugind.feed.liveness import MARK_INTERVAL
from plugind.feed.running import Running
from plugind.model import PluginKey, Run
from plugind.model.times import SECOND
from plugind.state import State
from plugind.store.sqlite import SqliteStore
from plugind.testing.stores.making import commit, instance, node, put

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
START = 1_700_000_000 * SECOND // HOUR * HOUR


class Server:
    """A process that marks itself as running, by a clock that the test sets."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.now = START
        self.running = Running(self.keep, lambda: self.now)
        self.availability = Availability(
            store.history, store.runs, self.running.at, store.deleted_until
        )
        commit(store, put(node(), instance(), time=START))

    def keep(self, run: str) -> None:
        self.store.mark(run, self.now)

    def run(self, span: int) -> None:
        """Let time pass while the process marks itself."""
        end = self.now + span
        self.running.mark()
        while self.now < end:
            self.now = min(end, self.now + round(MARK_INTERVAL * SECOND))
            self.running.mark()

    def runs(self) -> list[tuple[int, int]]:
        """Return the kept runs, in seconds since the start."""
        return [((run.start - START) // SECOND, (run.end - START) // SECOND) for run in self.kept]

    @property
    def kept(self) -> list[Run]:
        return list(self.store.runs(0))

    def observed(self) -> tuple[float, float]:
        """Return for how many seconds since the start a server ran, and for how many it did not."""
        state = State.of(self.store.load())
        windows = [Window(START, self.now)]
        found = self.availability.of_plugin(state, PluginKey("sample", "ebs"), windows, self.now)
        (sums,) = found.sums[Group("sample", "node")]
        return sums.observed / SECOND, sums.unknown / SECOND


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    store = SqliteStore(None, tmp_path)
    yield Server(store)
    store.close()


def test_a_process_that_goes_on_has_one_run(server: Server) -> None:
    server.run(HOUR)
    server.now += 40 * SECOND
    assert server.observed() == (3640, 0)
    server.now -= 30 * SECOND
    server.run(MINUTE)
    assert server.runs() == [(0, 3670)]


def test_a_machine_that_was_suspended_has_not_run_meanwhile(server: Server) -> None:
    server.run(HOUR)
    server.now += 10 * HOUR
    assert server.observed() == (3600, 36000), "also before the next mark"
    server.run(MINUTE)
    assert server.observed() == (3660, 36000)
    assert server.runs() == [(0, 3600), (39600, 39660)]
    assert len({run.id for run in server.kept}) == 2


def test_a_clock_that_was_ahead_has_not_run_in_time_to_come(server: Server) -> None:
    server.now += 10 * HOUR
    server.run(MINUTE)
    server.now = START
    assert server.running.at(START).start >= START
    server.run(HOUR)
    assert server.observed() == (3600, 0)
    assert server.runs() == [(0, 3600), (36000, 36000)]
    server.now += 20 * HOUR
    server.run(MINUTE)
    assert server.observed() == (3660, 72000)


def test_a_clock_that_was_set_back_to_before_the_start_goes_on(server: Server) -> None:
    server.now -= 20 * SECOND
    assert server.running.at(server.now) == (server.running.at(START).id, server.now, server.now)
    server.run(MINUTE)
    assert server.running.at(server.now).end == server.now


def test_marks_that_fail_for_long_end_a_run(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: str, now: int) -> None:
        raise StoreError("the disk is full")

    server.run(MINUTE)
    with monkeypatch.context() as patch:
        patch.setattr(server.store, "mark", fail)
        server.now += MINUTE
        with pytest.raises(StoreError):
            server.running.mark()
    server.run(MINUTE)
    assert server.runs() == [(0, 60), (120, 180)]
