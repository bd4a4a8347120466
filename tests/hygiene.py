"""Keep one test's leftovers from harming another: find them when that test ends, and remove them.

These are fixtures and hooks; tests/conftest.py applies them to every test.
"""

from __future__ import annotations

import gc
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.promises import PATIENCE

MARK = "SUITE_RUN"
"""The environment variable that identifies the processes of one run of the suite."""

_ENDING = float(os.environ.get("SUITE_ENDING", "10"))
"""Seconds for which a child process may still be visible after a test has ended it."""


def mark_run() -> None:
    """Mark this process, and every process that it will start, as part of one run of the suite."""
    os.environ.setdefault(MARK, uuid.uuid4().hex)


def heed_interrupts() -> None:
    """Restore Python's default handling of SIGINT.

    A shell script starts its background jobs (``make test &``) with SIGINT ignored, and every
    process that the tests start would inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def children() -> set[int]:
    """Return the IDs of this process's own child processes that have not ended."""
    found: set[int] = set()
    for file in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            found.update(int(pid) for pid in file.read_text().split())
    return {pid for pid in found if _runs(pid)}


def _runs(pid: int) -> bool:
    with suppress(OSError):
        return status_of(Path(f"/proc/{pid}/stat"))[0] != "Z"
    return False


def status_of(stat: Path) -> list[str]:
    """Return the state of a process or thread and all fields after it in its status (proc(5)).

    Raise OSError if it has ended.
    """
    # A name may be cut within a character.
    return stat.read_text(errors="replace").rpartition(")")[2].split()


@pytest.fixture(autouse=True)
def leaves_no_process() -> Iterator[None]:
    """Fail a test that leaves a child process behind, and end that process."""
    before = children()
    yield
    deadline = time.monotonic() + _ENDING
    while (left := children() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    if left:
        names = ", ".join(_end(psutil.Process(pid)) for pid in sorted(left))
        pytest.fail(f"the test left processes behind: {names}")


@pytest.fixture(autouse=True)
def leaves_no_handle() -> Iterator[None]:
    """Find files, sockets and connections that a test did not close, before the next test begins.

    Objects in reference cycles are freed at the next collection, with a ResourceWarning; without
    this fixture that could happen in the middle of another test. Objects that existed before the
    test are frozen, so the collection looks only at objects that the test made.
    """
    gc.freeze()
    yield
    gc.collect()
    gc.unfreeze()


def leftovers() -> list[psutil.Process]:
    """Return the processes of this run whose parent has ended, so that no test owns them."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            environ = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            if mark in environ and process.status() != psutil.STATUS_ZOMBIE and _is_orphan(process):
                found.append(process)
    return found


def _is_orphan(process: psutil.Process) -> bool:
    """Return whether a process is no descendant of this one."""
    mine = os.getpid()
    return process.pid != mine and mine not in {parent.pid for parent in process.parents()}


def end_leftovers() -> list[str]:
    """Kill the run's processes that no test owns, and return their descriptions."""
    deadline = time.monotonic() + _ENDING
    while (found := leftovers()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [_end(process) for process in found]


def _end(process: psutil.Process) -> str:
    name = str(process.pid)
    with suppress(psutil.Error):
        name = f"{process.pid} ({' '.join(process.cmdline())[:200]})"
        process.kill()
        process.wait(PATIENCE)
    return name
