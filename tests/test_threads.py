"""Threads that have an owner, and what happens when an exception ends their work."""

from __future__ import annotations

import threading

import pytest
from structlog.testing import capture_logs

from plugind.health import threads
from plugind.health.threads import OwnedThread, threads_health
from tests.promises import PATIENCE, eventually


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "RESTART_AFTER", 0.001)


class Work:
    """Work that raises the given exceptions one by one, and then waits to be ended."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.goes_on = threading.Event()
        self.ended = threading.Event()

    def __call__(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.goes_on.set()
        self.ended.wait(2 * PATIENCE)


def test_a_thread_that_ends_as_asked_is_no_trouble() -> None:
    work = Work()
    thread = OwnedThread("pacing", work, restarts=True)
    thread.start()
    assert (thread.trouble, thread.is_dead) == ("", False)
    work.ended.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert (thread.trouble, thread.is_dead) == ("", False)
    assert threads_health([thread]).message == "ok"


def test_work_that_dies_is_restarted_and_counted() -> None:
    work = Work(ValueError("a secret"), ValueError("a secret"), SystemExit())
    thread = OwnedThread("pacing", work, restarts=True)
    with capture_logs() as log:
        thread.start()
        assert work.goes_on.wait(PATIENCE)
    assert thread.trouble == "the thread pacing died 3 times (SystemExit) and was restarted"
    found = threads_health([thread])
    assert found.ok
    assert found.summary == "ok; threads that died: 1"
    assert "secret" not in found.message
    assert [bool(each["exc_info"]) for each in log] == [True, False, True], "once for each kind"
    work.ended.set()
    thread.join(PATIENCE)


def test_health_is_red_until_work_that_died_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "RESTART_AFTER", 2 * PATIENCE)
    thread = OwnedThread("pacing", Work(ValueError()), restarts=True)
    with capture_logs():
        thread.start()
        text = "the thread pacing died once (ValueError) and is started again"
        eventually(lambda: thread.trouble == text)
        assert not threads_health([thread]).ok
        assert not thread.is_dead
        thread.join(PATIENCE)
    assert not thread.is_alive()


def test_work_that_cannot_be_restarted_stays_dead_and_turns_health_red() -> None:
    causes: list[BaseException] = []
    error = KeyError("x")
    thread = OwnedThread("intake", Work(error), restarts=False, died=causes.append)
    thread.start()
    eventually(lambda: causes == [error])
    assert thread.is_dead, "before others learn of its death"
    assert thread.trouble == "the thread intake died (KeyError); restart the process"
    assert threads_health([thread]).message == thread.trouble
    assert not threads_health([thread]).ok


def test_work_that_is_being_ended_is_not_restarted() -> None:
    work = Work(*[OSError()] * 1_000_000)
    thread = OwnedThread("pacing", work, restarts=True)
    with capture_logs():
        thread.start()
        thread.join(PATIENCE)
    assert not thread.is_alive()
