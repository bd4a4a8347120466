"""The admission of reports: which may be processed at the same time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import pytest

from plugind import handover
from plugind.errors import Busy, ClientGone, ReportInWork
from plugind.health import Hits
from plugind.intake import admission
from plugind.intake.admission import LARGE_BYTES, Admission
from tests.promises import PATIENCE
from tests.support import eventually


@contextmanager
def large(
    subject: Admission, token: str, node: str, is_gone: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    with subject.entered(token, node, "s", is_gone) as entry:
        entry.become_large()
        yield


def test_one_report_of_a_node_at_a_time() -> None:
    subject = Admission(hits := Hits())
    with subject.entered("t", "n1", "s"), subject.entered("t", "n2", "s"):
        with pytest.raises(ReportInWork), subject.entered("t", "n1", "s"):
            pass
        with pytest.raises(ReportInWork), subject.entered("other", "n1", "s"):
            pass
        with subject.entered("t", "n1", "another secret"):
            pass
    with subject.entered("t", "n1", "s"):
        pass
    assert hits.counts == {"reports_per_node": 2}


def test_one_token_has_three_quarters_of_the_places() -> None:
    subject = Admission(hits := Hits(), maximum=8)
    with ExitStack() as until_end:
        for number in range(6):
            until_end.enter_context(subject.entered("greedy", f"g{number}", "s"))
        with pytest.raises(Busy), subject.entered("greedy", "n3", "s"):
            pass
        for node in ("n3", "n4"):
            until_end.enter_context(subject.entered("honest", node, "s"))
        with pytest.raises(Busy) as caught, subject.entered("third", "n5", "s"):
            pass
    assert caught.value.retry_after == 1
    assert hits.counts == {"max_reports": 2}
    with subject.entered("greedy", "n3", "s"), subject.entered("greedy", "n1", "s"):
        pass


def test_there_are_a_quarter_as_many_places_for_large_ones() -> None:
    subject = Admission(hits := Hits(), maximum=16, large=4)
    with ExitStack() as until_end:
        for token, node in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1")):
            until_end.enter_context(large(subject, token, node))
        for token in ("a", "b"):
            with pytest.raises(Busy), large(subject, token, "n"):
                pass
    assert hits.counts == {"max_large_reports": 2}


def test_large_ones_take_no_place_of_small_ones() -> None:
    subject = Admission(Hits(), maximum=2, large=1)
    with large(subject, "t", "n1"), subject.entered("t", "n2", "s"):
        with pytest.raises(Busy):
            subject.check_size("t", "n3", LARGE_BYTES + 1)
        subject.check_size("t", "n3", LARGE_BYTES)
        subject.check_size("other", "n3", LARGE_BYTES + 1)


def test_large_ones_wait_and_tokens_take_turns() -> None:
    subject = Admission(Hits(), large=1)
    order: list[str] = []

    def work(token: str, node: str) -> None:
        with large(subject, token, node):
            order.append(node)

    with ThreadPoolExecutor(4) as pool:
        with large(subject, "t", "first"):
            waiting = []
            for token, node in (("a", "a1"), ("a", "a2"), ("b", "b1")):
                count = len(subject._turns)
                waiting.append(pool.submit(work, token, node))
                eventually(lambda count=count: len(subject._turns) == count + 1)
            with subject.entered("a", "small", "s"):
                order.append("small")
        for each in waiting:
            each.result(PATIENCE)
    assert order == ["small", "a1", "b1", "a2"]


def test_the_large_ones_in_work_are_bounded() -> None:
    subject = Admission(Hits(), large=2)
    now = threading.Semaphore(2)

    def work(number: int) -> None:
        with large(subject, "t", f"n{number}"):
            assert now.acquire(blocking=False), "more are in work than may be"
            time.sleep(0.001)
            now.release()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))


def test_one_that_waits_too_long_has_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "PATIENCE", 0.05)
    subject = Admission(hits := Hits(), large=1)
    with large(subject, "t", "n1"), pytest.raises(Busy), large(subject, "t", "n2"):
        pass
    assert hits.counts == {"max_large_reports": 1}
    with large(subject, "t", "n2"):
        pass


def test_a_client_that_left_gives_up_its_place() -> None:
    subject = Admission(Hits(), large=1)
    with large(subject, "t", "n1"):
        with pytest.raises(ClientGone), large(subject, "t", "n2", lambda: True):
            pass
        with subject.entered("t", "n2", "s"):
            pass


def test_the_interpreter_is_handed_over_sooner_only_while_something_large_is_in_work() -> None:
    usual = sys.getswitchinterval()
    subject = Admission(Hits())
    with large(subject, "t", "n1"):
        with large(subject, "t", "n2"):
            assert sys.getswitchinterval() == pytest.approx(handover.INTERVAL)
        assert sys.getswitchinterval() == pytest.approx(handover.INTERVAL)
    assert sys.getswitchinterval() == usual


def test_large_work_takes_breaks_and_small_work_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now, breaks = 0.0, list[float]()

    def sleep(seconds: float) -> None:
        if seconds:
            breaks.append(seconds)

    clock = SimpleNamespace(
        thread_time=lambda: now, process_time=lambda: now, monotonic=lambda: now, sleep=sleep
    )
    monkeypatch.setattr(handover, "time", clock)
    for _ in range(10):
        now += 0.01
        handover.step()
    with handover.alone():
        now += 1.0
    assert not breaks
    with handover.large():
        for worked in (0.0006, 0.0006, 0.002):
            now += worked
            handover.step()
        with handover.alone():
            now += 0.1
        now += 10.0
    assert breaks == pytest.approx([0.0012, 0.002, 0.1 * handover.REST, handover.BREAK_MAXIMUM])
    now += 1.0
    handover.step()
    assert len(breaks) == 4


def test_calls_that_do_not_hand_over_are_made_one_at_a_time() -> None:
    inside = threading.Semaphore(1)

    def call(number: int) -> None:
        with handover.large(), handover.alone():
            assert inside.acquire(blocking=False), "two of them at once"
            time.sleep(0.001)
            inside.release()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, range(40)))
