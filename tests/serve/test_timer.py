"""Functions are called when they are due, each once, whatever another one does."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from plugind.serve.timer import Timer
from tests.support import eventually


@pytest.fixture
def timer() -> Iterator[Timer]:
    made = Timer("test")
    yield made
    made.close()


def test_calls_come_in_the_order_of_their_times_and_never_early(timer: Timer) -> None:
    began, calls = time.monotonic(), []
    for seconds in (1.5, 0.5, 1.0):
        timer.later(seconds, lambda seconds=seconds: calls.append((seconds, time.monotonic())))
    eventually(lambda: len(calls) == 3)
    assert [seconds for seconds, _ in calls] == [0.5, 1.0, 1.5]
    assert all(at - began >= seconds for seconds, at in calls)


def test_a_call_that_fails_keeps_no_other_from_coming(
    timer: Timer, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []
    timer.later(0.0, lambda: 1 / 0)
    timer.later(0.01, lambda: calls.append(1))
    eventually(lambda: calls)
    assert "a call at a set time failed" in capsys.readouterr().out


def test_after_the_end_nothing_is_called() -> None:
    timer, calls = Timer("test"), []
    timer.later(60.0, lambda: calls.append(1))
    timer.close()
    timer.later(0.0, lambda: calls.append(2))
    assert not timer.thread.is_alive()
    assert not calls
