"""The guard around the code of plugin types: calls that raise, hang or are starved."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest
from structlog.testing import capture_logs

from plugind.types import guard as guarding
from plugind.types.guard import Answer, Guard
from tests.promises import PATIENCE, eventually, promised

pytestmark = pytest.mark.alone  # they hold plugind to milliseconds

PLUGINS = [f"p{number:03}" for number in range(200)]


@pytest.fixture
def guard() -> Iterator[Guard]:
    made = Guard("lamp", "t-lamps 1.0")
    yield made
    made.close()
    eventually(lambda: not made.thread.is_alive())


Make = Callable[[str], str]


def rows(guard: Guard, version: int = 1, what: str = "row", **odd: Make) -> Answer[str, str]:
    """Make a row for each plugin: its name and version, unless ``odd`` says otherwise."""

    def make(name: str) -> str:
        return odd[name](name) if name in odd else f"{name} {version}"

    return guard.call(what, dict.fromkeys(PLUGINS, version), make)


def fails(name: str) -> str:
    raise ValueError("the secret of lamps")


class Hang:
    """A call that hangs, by sleeping or in an endless loop, until it is released."""

    def __init__(self, *, busy: bool = False) -> None:
        self.count = 0
        self.threads: set[int] = set()
        self._busy = busy
        self._end = threading.Event()

    def __call__(self, name: str) -> str:
        self.count += 1
        self.threads.add(threading.get_ident())
        while self._busy and not self._end.is_set():
            pass
        self._end.wait(30)
        return "late"

    def let_go(self) -> None:
        self._end.set()


@pytest.fixture(params=["waits", "loops"])
def hang(request: pytest.FixtureRequest) -> Iterator[Hang]:
    made = Hang(busy=request.param == "loops")
    yield made
    made.let_go()


def test_a_result_is_kept_until_its_version_changes(guard: Guard) -> None:
    answer = rows(guard)
    assert answer.values == {name: f"{name} 1" for name in PLUGINS}
    assert not answer.failed
    again = rows(guard, p000=fails)
    assert again.values == answer.values
    assert rows(guard, 2).values["p000"] == "p000 2"
    assert guard.call("body", {"p000": 1}, lambda name: "body").values == {"p000": "body"}
    assert guard.trouble == ""


def test_a_call_that_raises_takes_no_other_with_it(guard: Guard) -> None:
    rows(guard)
    with capture_logs() as log, promised(0.1):
        answer = rows(guard, 2, p007=fails, p008=sys.exit)
    assert answer.failed == ["p007", "p008"]
    assert answer.values["p007"] == "p007 1", "what it gave last"
    assert answer.values["p009"] == "p009 2"
    assert guard.trouble == (
        "the type lamp of t-lamps 1.0 fails for 2 plugins (SystemExit, ValueError, see the log)"
    )
    assert [each["plugin"] for each in log] == ["p007", "p008"]
    assert "ValueError: the secret of lamps" in log[0]["exception"]
    with capture_logs() as log:
        rows(guard, 3, p007=fails)
    assert log == [], "each kind is logged once"
    assert "1 plugin (ValueError" in guard.trouble
    rows(guard, 4)
    assert guard.trouble == ""


def test_calls_of_a_long_list_let_those_of_another_reader_go_first(guard: Guard) -> None:
    made: list[str] = []
    begun = threading.Event()

    def slow(name: str) -> str:
        begun.set()
        time.sleep(0.005)
        made.append(name)
        return name

    def quick(name: str) -> str:
        made.append("quick")
        return name

    names = [f"p{number:03}" for number in range(300)]
    reader = threading.Thread(target=lambda: guard.call("row", dict.fromkeys(names, 1), slow))
    reader.start()
    assert begun.wait(PATIENCE)
    assert guard.call("body", {"one": 1}, quick).values == {"one": "one"}
    reader.join()
    assert made.index("quick") < len(names) // 2
    assert [name for name in made if name != "quick"] == names
    assert guard.trouble == "", "breaks between calls are not charged"


def test_a_call_that_never_gave_anything_has_no_value(guard: Guard) -> None:
    answer = rows(guard, p007=fails)
    assert "p007" not in answer.values
    assert len(answer.values) == len(PLUGINS) - 1


def test_a_call_that_hangs_is_not_waited_for_and_comes_late(guard: Guard, hang: Hang) -> None:
    rows(guard)
    with capture_logs() as log, promised(0.1):
        answer = rows(guard, 2, p100=hang)
    assert answer.failed == PLUGINS[100:]
    assert answer.values["p099"] == "p099 2"
    assert answer.values["p100"] == "p100 1"
    assert "in __call__" in log[0]["stack"]
    assert "the type lamp of t-lamps 1.0 hangs since 2" in guard.trouble
    with promised(0.2):  # waiting for each would take 1 s
        for _ in range(10):
            assert rows(guard, 2, p100=hang).failed == PLUGINS[100:]
            rows(guard, 3, "body", p100=hang)
    assert guard.is_current(answer.mark)

    hang.let_go()
    eventually(lambda: not guard.is_current(answer.mark))
    answer = rows(guard, 2, p100=hang)
    assert answer.values["p100"] == "late"
    assert answer.values["p101"] == "p101 2"
    assert not answer.failed
    assert hang.count == 1
    assert guard.trouble == ""


def test_all_who_wait_are_answered_when_a_call_hangs(guard: Guard, hang: Hang) -> None:
    answers = []
    with ExitStack() as threads, promised(0.2):
        for number in range(8):
            read = threading.Thread(
                target=lambda number=number: answers.append(
                    rows(guard, 1, f"row {number}", p000=hang)
                )
            )
            read.start()
            threads.callback(read.join)
    assert len(answers) == 8
    assert hang.count == 1
    assert len(hang.threads) == 1


def test_a_failed_call_is_made_again_after_a_while(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = rows(guard, p007=fails)
    assert guard.is_current(answer.mark)
    monkeypatch.setattr(guarding, "RETRY", 0.0)
    assert not guard.is_current(answer.mark)


def test_a_plugin_that_is_gone_is_forgotten(guard: Guard) -> None:
    rows(guard)
    rows(guard, 2, p007=fails)
    guard.forget("p007")
    assert guard.trouble == ""
    assert "p007" not in rows(guard, 2, p007=fails).values


def test_a_result_that_is_not_kept_is_made_each_time_unless_it_came_late(
    guard: Guard, hang: Hang
) -> None:
    made: list[str] = []

    def body(make: Make) -> Answer[str, str]:
        return guard.call("document", {"p000": 1}, make, keeps=False)

    def note(name: str) -> str:
        made.append(name)
        return name

    for count in (1, 2):
        assert body(note).values == {"p000": "p000"}
        assert len(made) == count
    late = body(hang)
    assert late.failed == ["p000"]
    hang.let_go()
    eventually(lambda: not guard.is_current(late.mark))
    assert body(note).values == {"p000": "late"}
    assert body(note).values == {"p000": "p000"}


def test_slow_calls_that_return_do_not_hang(guard: Guard) -> None:
    def slow(name: str) -> str:
        time.sleep(0.01)
        return name

    answer = guard.call("row", dict.fromkeys(PLUGINS[:20], 1), slow)
    assert not answer.failed


def work(name: str) -> str:
    """Use 10 ms of processor time."""
    until = time.thread_time() + 0.01
    while time.thread_time() < until:
        pass
    return "done"


@contextmanager
def busy_machine() -> Iterator[None]:
    """Run eight processes that use all the processor time they can get."""
    loop = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(loop) for _ in range(8)]
    try:
        yield
    finally:
        for each in others:
            each.kill()
            each.wait()


@contextmanager
def busy_process() -> Iterator[None]:
    """Run six threads of this process without pause."""
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            pass

    others = [threading.Thread(target=run) for _ in range(6)]
    for each in others:
        each.start()
    try:
        yield
    finally:
        ended.set()
        for each in others:
            each.join()


@pytest.mark.parametrize("busy", [busy_machine, busy_process])
def test_a_type_that_is_starved_does_not_hang(
    guard: Guard, busy: Callable[[], AbstractContextManager[None]]
) -> None:
    with busy():
        for number in range(10):
            answer = guard.call("row", dict.fromkeys(PLUGINS[:3], number), work)
            assert not answer.failed, guard.trouble


def test_a_hang_is_noticed_in_a_busy_process(guard: Guard, hang: Hang) -> None:
    with busy_process(), promised(2):
        answer = guard.call("row", {"p000": 1}, hang)
    assert answer.failed == ["p000"]


def test_a_thread_that_died_is_restarted_and_answers(guard: Guard) -> None:
    rows(guard)
    ident = ctypes.c_ulong(guard.thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SystemExit))
    rows(guard, 2)
    text = "the thread type lamp died once (SystemExit) and was restarted"
    eventually(lambda: guard.thread.trouble == text)
    eventually(lambda: not rows(guard, 3).failed)
    assert guard.trouble == ""
