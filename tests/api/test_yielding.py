"""Long work pauses after each slice, and rarely reads the clock while its parts are short."""

from __future__ import annotations

import pytest

from plugind.api import yielding
from plugind.api.yielding import SLICE, in_slices


class Clock:
    """A clock that the work advances; it counts how often it is read, and the work before each
    pause."""

    def __init__(self) -> None:
        self.now, self.looks = 0.0, 0
        self.worked, self.slices = 0.0, list[float]()

    def perf_counter(self) -> float:
        self.looks += 1
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += 50 * seconds
        self.slices.append(self.worked)
        self.worked = 0.0

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.worked += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(yielding, "time", made)
    return made


@pytest.mark.parametrize("each", [SLICE / 1000, SLICE / 100, SLICE / 17, SLICE / 3, SLICE * 4])
def test_a_pause_comes_after_each_slice(clock: Clock, each: float) -> None:
    seen = []
    for value in in_slices(range(5000)):
        seen.append(value)
        clock.work(each)
    assert seen == list(range(5000))
    total = 5000 * each
    assert len(clock.slices) >= min(total / SLICE / 2.1, 4999)
    assert max(clock.slices) <= 2 * SLICE + each


def test_short_parts_cost_few_looks_at_the_clock(clock: Clock) -> None:
    for _ in in_slices(range(5000)):
        clock.work(SLICE / 1000)
    assert clock.looks < 5000 / 10


def test_parts_that_become_long_are_noticed_soon(clock: Clock) -> None:
    for value in in_slices(range(1000)):
        clock.work(SLICE / 1000 if value < 500 else SLICE)
    late = [slice for slice in clock.slices if slice > 3 * SLICE]
    assert len(late) <= 1
    assert max(clock.slices) <= 18 * SLICE


def test_no_value_is_taken_before_it_is_needed(clock: Clock) -> None:
    source = iter(range(100))
    for value in in_slices(source):
        if value == 40:
            break
    assert next(source) == 41
