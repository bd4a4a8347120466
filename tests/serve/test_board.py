"""The memory that the processes of a server share, and the sums of what they publish there."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator

import pytest

from plugind.health import Finding, Health
from plugind.metrics.readings import Reading
from plugind.metrics.snapshot import CPU, Client, Snapshot, frozen, summed
from plugind.serve.board import PARENT, Board
from plugind.serve.peers import SILENT, Peers, united
from plugind.tally import Counts, Tally


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board.make(2)
    yield made
    made.close()


def tally(*figures: float) -> Tally:
    made = Tally((0.5, 1.0))
    for each in figures:
        made.add(("x",), each)
    return made


def peers(board: Board, place: int, *readings: Reading, health: Health | None = None) -> Peers:
    return Peers(board, place, lambda: readings, lambda: health or Health())


def published(board: Board, place: int, *readings: Reading, health: Health | None = None) -> Peers:
    made = peers(board, place, *readings, health=health)
    made.publish()
    return made


def test_a_snapshot_is_read_as_it_was_published(board: Board) -> None:
    counts, gauges = frozen(
        [
            ("plugind_http_requests_total", tally(0.1, 0.7, 3.0)),
            ("plugind_follow_lag_seconds", [((), float("inf"))]),
        ]
    )
    client = Client(Health(False, (Finding("lost", "why"),)), {"a": "b"})
    health = Health(True, (Finding("kind", "details", 3),))
    snapshot = Snapshot(7, 1.5, counts, gauges, {CPU: 2.5}, health, client)
    assert board.get(1) == Snapshot()
    board.put(1, snapshot)
    assert board.get(1) == snapshot
    assert Board(board.handle, 2).get(1) == snapshot
    assert board.get(PARENT) == board.get(2) == Snapshot()


def test_a_process_that_is_killed_while_it_writes_leaves_the_last_snapshot(board: Board) -> None:
    """Check that a partly written snapshot leaves either the new snapshot or the previous one."""
    chance = random.Random(1)
    for number in range(1, 50):
        board.put(1, Snapshot(number, process={str(each): 1.0 for each in range(number)}))
        before = os.pread(board.handle, 2**23, 2**23)
        board.put(1, Snapshot(number + 1, process={"longer": float(number)}))
        after = os.pread(board.handle, 2**23, 2**23)
        cut = chance.randrange(2_000)
        os.pwrite(board.handle, after[:cut] + before[cut:2_000], 2**23)
        half = 2**22
        os.pwrite(board.handle, after[half : half + cut] + before[half + cut : half + 2_000],
                  2**23 + half)  # fmt: skip
        assert Board(board.handle, 2).get(1).pid in (number, number + 1)


def test_counters_of_all_processes_are_added(board: Board) -> None:
    published(board, 2, ("plugind_http_requests_total", tally(0.1, 3.0)),
              ("plugind_parked_queries", [((), 3)]), ("plugind_state_index", [((), 9)]),
              ("plugind_store_writable", [((), 0.0)]))  # fmt: skip
    one = peers(
        board, 1,
        ("plugind_http_requests_total", tally(0.1, 0.7)),
        ("plugind_parked_queries", [((), 4)]),
        ("plugind_state_index", [((), 8)]),
        ("plugind_store_writable", [((), 1.0)]),
    )  # fmt: skip
    found = dict(summed(one.together()))
    requests = found["plugind_http_requests_total"]
    assert isinstance(requests, Counts)
    (total,) = requests.totals().values()
    assert (total.count, total.sum, total.buckets) == (4, pytest.approx(3.9), (2, 3, 4))
    (recent,) = (figures for each in requests.recents.values() for _, figures in each)
    assert (recent.count, recent.minimum, recent.maximum) == (4, 0.1, 3.0)
    assert found["plugind_parked_queries"] == [((), 7.0)]
    assert found["plugind_state_index"] == [((), 8)], "all have the same: its own is the newest"
    assert found["plugind_store_writable"] == [((), 0.0)]


def test_a_process_shows_nothing_that_it_has_not_published(board: Board) -> None:
    counted = tally(0.1)
    one = peers(board, 1, ("plugind_http_requests_total", counted))
    counted.add(("x",), 0.2)
    shown = one.together()[0]
    assert board.get(1) == shown
    assert shown.counts["plugind_http_requests_total"].totals()["x",].count == 2


def test_a_successor_goes_on_from_the_counts_of_a_process_that_ended(board: Board) -> None:
    published(board, 1, ("plugind_http_requests_total", tally(0.1, 0.7, 3.0)),
              ("plugind_parked_queries", [((), 3)]))  # fmt: skip
    before = board.get(1)
    board.put(1, before.ended())
    ended = board.get(1)
    assert (ended.pid, ended.gauges, ended.counts) == (0, {}, before.counts)
    counted = tally(0.7)
    next_ = peers(
        board, 1,
        ("plugind_http_requests_total", counted),
        ("plugind_http_request_duration_seconds", counted),  # the same tally under another name
    )  # fmt: skip
    next_.start()
    (total,) = counted.totals().values()
    assert (total.count, total.sum, total.buckets) == (4, pytest.approx(4.5), (1, 3, 4))
    assert board.get(1).process[CPU] >= before.process[CPU]
    next_.close()


def test_health_combines_that_of_all_processes(board: Board) -> None:
    both, one = Finding("packages", "x is broken"), Finding("failures", "no space", 2)
    published(board, 2, health=Health(False, (both, one, Finding("limits reached", "5 times"))))
    published(board, PARENT, health=Health(True, (Finding("failed reloads", "a mistake"),)))
    found = peers(board, 1, health=Health(True, (both,))).health()
    assert not found.ok
    assert found.findings == (
        both,
        Finding("failed reloads", "a mistake"),
        Finding("failures", "worker 2: no space", 2),
    )
    differing = [("worker 1", Health(True, (Finding("k", "a"),))),
                 ("worker 2", Health(True, (Finding("k", "b", 2),)))]  # fmt: skip
    assert list(united(differing, 2)) == [Finding("k", "worker 1: a; worker 2: b", 3)]


def test_a_process_that_publishes_nothing_is_not_well_and_one_that_ended_is_ignored(
    board: Board,
) -> None:
    published(board, 2, ("plugind_parked_queries", [((), 3)]))
    one = peers(board, 1, ("plugind_parked_queries", [((), 1)]))
    assert one.health() == Health()
    old = board.get(2)
    late = Snapshot(old.pid, old.at - SILENT - 1, old.counts, old.gauges)
    board.put(2, late)
    found = one.health()
    assert not found.ok
    assert re.search(rf"worker 2 \(process {old.pid}\) for \d+ s", found.message)
    assert one.sums("plugind_parked_queries", {(): 1}) == {(): 4}
    board.put(2, late.ended())
    assert one.health() == Health()
    assert one.sums("plugind_parked_queries", {(): 1}) == {(): 1}


def test_the_first_worker_that_runs_leads(board: Board) -> None:
    published(board, PARENT)
    first = published(board, 1)
    assert first.leads
    assert not peers(board, 2).leads
    board.put(1, board.get(1).ended())
    assert peers(board, 2).leads
    published(board, 1)
    assert not peers(board, 2).leads
