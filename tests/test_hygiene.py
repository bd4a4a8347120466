"""The suite's own rules: each test cleans up, and the run finds what a test left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.hygiene import MARK
from tests.processes import alive
from tests.promises import COMMAND_MAXIMUM, CREDIT, SOON, eventually, promised
from tests.selection import CORE, LONG, TESTS
from tests.test_floors import ROOT


def run_suite(folder: Path, text: str, *, shell: str = "") -> tuple[int, str]:
    """Run a suite of one module under the rules of tests/conftest.py; return status and output."""
    (folder / "conftest.py").write_text("from tests.conftest import *\n")
    (folder / "test_it.py").write_text(textwrap.dedent(text))
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    environ = {name: value for name, value in os.environ.items() if name != MARK}
    done = subprocess.run(
        ["sh", "-c", f'{shell} exec "$@"', "sh", *command, f"--rootdir={folder}", folder],
        cwd=folder,
        env={**environ, "PYTHONPATH": str(ROOT), "SUITE_ENDING": "1"},
        capture_output=True,
        text=True,
        timeout=COMMAND_MAXIMUM,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_child_process_fails_the_test_that_left_it(tmp_path: Path) -> None:
    status, output = run_suite(
        tmp_path,
        """
        import subprocess
        KEPT = []

        def test_leaves():
            KEPT.append(subprocess.Popen(["sleep", "600"]))
            print("child", KEPT[0].pid, flush=True)
            assert False

        def test_next():
            pass
        """,
    )
    assert status == 1
    assert re.search(r"ERROR .*test_leaves - .*the test left processes behind", output), output
    assert "ERROR test_it.py::test_next" not in output
    child = int(re.findall(r"child (\d+)", output)[0])
    assert not alive(child)


def test_a_process_that_left_its_parent_is_found_at_the_end(tmp_path: Path) -> None:
    status, output = run_suite(
        tmp_path,
        """
        import subprocess

        def test_leaves():
            subprocess.run(["sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $! > pid"])
        """,
    )
    assert status == 1, output
    assert "processes were left behind by the tests" in output
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_handle_fails_the_test_that_left_it(tmp_path: Path) -> None:
    status, output = run_suite(
        tmp_path,
        """
        def test_leaks():
            cycle = [open("/dev/null")]
            cycle.append(cycle)

        def test_next():
            import gc
            gc.collect()
        """,
    )
    assert status == 1
    assert re.search(r"(ERROR|FAILED) \S*test_leaks", output), output
    assert not re.search(r"(ERROR|FAILED) \S*test_next", output), output


def test_interrupts_work_where_the_parent_ignores_them(tmp_path: Path) -> None:
    status, output = run_suite(
        tmp_path,
        """
        import signal, subprocess

        def test_interrupt():
            child = subprocess.Popen(["sleep", "600"])
            child.send_signal(signal.SIGINT)
            assert child.wait(60) == -signal.SIGINT
        """,
        shell="trap '' INT;",
    )
    assert status == 0, output


def test_a_promise_can_be_broken_however_busy_the_machine_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, delay = [100.0], [50.0]
    monkeypatch.setattr("tests.promises.time.monotonic", lambda: now[0])
    monkeypatch.setattr("tests.promises.stalled", lambda: delay[0])

    def lasts(seconds: float, waited: float) -> None:
        now[0] += seconds
        delay[0] += waited

    with promised(100):
        lasts(90, 0)
    with promised(100):
        lasts(150, 60)
    with pytest.raises(AssertionError, match=r"took 150\.00 s"), promised(100):
        lasts(150, 40)
    with pytest.raises(AssertionError), promised(100):
        lasts(100 * (1 + CREDIT), 100 * (1 + CREDIT))


def test_a_test_that_runs_beside_others_bounds_no_time_by_seconds() -> None:
    for bound in (SOON - 1, SOON):
        is_short = pytest.raises(pytest.fail.Exception, match="must not bound time by 19 s")
        with is_short if bound < SOON else nullcontext(), promised(bound):
            pass
        with is_short if bound < SOON else nullcontext():
            eventually(lambda: True, bound)


@pytest.mark.alone
def test_one_that_runs_alone_may() -> None:
    with promised(1):
        eventually(lambda: True, 1)


@pytest.mark.parametrize("place", sorted(CORE | LONG))
def test_what_is_said_to_be_long_or_not_is_there(place: str) -> None:
    module, _, name = place.partition("::")
    assert (TESTS / module).exists()
    assert not name or re.search(rf"^def {name}\(", (TESTS / module).read_text(), re.MULTILINE)
