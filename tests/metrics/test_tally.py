"""Tallies count events since the start, and keep the figures of the last interval."""

from __future__ import annotations

import math
import statistics
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugind import tally
from plugind.tally import AT_ONCE, INTERVAL, Tally
from tests.metrics.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(tally, "time", made)
    return made


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Make threads take turns as often as Python can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def test_totals_are_by_labels_and_buckets_are_cumulative() -> None:
    made = Tally((0.1, 1.0), known=[("z",)])
    for figure in (0.05, 0.1, 0.5, 7.0):
        made.add(("a",), figure)
    made.add(("a",), 0.25, times=2)
    totals = made.totals()
    assert list(totals) == [("a",), ("z",)]
    assert (totals["a",].count, totals["a",].buckets) == (6, (2, 5, 6))
    assert math.isclose(totals["a",].sum, 8.15)
    assert (totals["z",].count, totals["z",].sum, totals["z",].buckets) == (0, 0.0, (0, 0, 0))


def test_the_figures_of_an_interval_are_its_own(clock: Clock) -> None:
    made = Tally()
    figures = [1.0, 2.0, 4.0]
    for figure in figures:
        made.add(("a",), figure)
    first = clock.number
    clock.now += INTERVAL
    made.add(("b",))
    found = made.recent(first)["a",]
    assert (found.count, found.sum, found.minimum, found.maximum) == (3, 7.0, 1.0, 4.0)
    assert math.isclose(found.mean, statistics.mean(figures))
    assert math.isclose(found.deviation, statistics.stdev(figures))
    assert list(made.recent(clock.number)) == [("b",)]
    assert made.recent(clock.number)["b",].deviation == 0.0


def test_of_intervals_without_events_nothing_is_known(clock: Clock) -> None:
    made = Tally()
    made.add()
    first = clock.number
    assert made.recent(first + 1) == {}
    clock.now += 3 * INTERVAL
    made.add()
    assert made.recent(first) == {}
    assert made.recent(clock.number - 1) == {}
    clock.now -= 100 * INTERVAL  # the clock was set back
    made.add()
    assert list(made.recent(clock.number)) == [()]
    assert made.totals()[()].count == 3


def test_no_event_of_many_threads_is_lost(eager_threads: None) -> None:
    made = Tally((0.5,))

    def count() -> None:
        for number in range(2_000):
            made.add((str(number % 3),), 1.0)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(total.count for total in made.totals().values()) == 16_000


@given(st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.2, 1.0, 1.5]), max_size=AT_ONCE + 5))
def test_a_counter_counts_like_the_tally_itself(figures: list[float]) -> None:
    one, other = Tally((0.1, 1.0)), Tally((0.1, 1.0))
    count = other.counter(("a",)).add
    for figure in figures:
        one.add(("a",), figure)
        count(figure)
    assert other.counter(("a",)) is other.counter(("a",))
    for made, found in zip(one.totals().values(), other.totals().values(), strict=True):
        assert (made.count, made.buckets) == (found.count, found.buckets)
        assert math.isclose(made.sum, found.sum)


def test_a_counter_gives_each_interval_its_own_events(clock: Clock) -> None:
    made = Tally()
    count = made.counter(("a",)).add
    count(1.0)
    count(3.0)
    first = clock.number
    clock.now += INTERVAL
    count(5.0)
    made.counter(("b",)).add(1.0)
    found = made.recent(first)["a",]
    assert (found.count, found.sum, found.squares) == (2, 4.0, 10.0)
    assert (found.minimum, found.maximum) == (1.0, 3.0)
    assert {labels: each.count for labels, each in made.recent(clock.number).items()} == {
        ("a",): 1,
        ("b",): 1,
    }


def test_no_event_of_counters_in_many_threads_is_lost(eager_threads: None) -> None:
    made = Tally((0.5,))

    def count() -> None:
        for number in range(2_000):
            made.counter((str(number % 3),)).add(1.0)
            if number % 500 == 0:
                made.totals()

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(total.count for total in made.totals().values()) == 16_000
