"""Keep one test's leftovers from harming another: find them when that test ends, and end them.

Fixtures and hooks; tests/conftest.py makes them count for every test.
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
"""The environment variable by which the processes of one run of the suite are known."""

_ENDING = float(os.environ.get("SUITE_ENDING", "10"))
"""Seconds in which a child process that a test has ended may still be seen."""


def mark_run() -> None:
    """Mark this process, and what it will start, as one run of the suite."""
    os.environ.setdefault(MARK, uuid.uuid4().hex)


def heed_interrupts() -> None:
    """Take SIGINT as Python does by default.

    A shell script starts what it puts into the background (``make test &``) with SIGINT ignored,
    and every process that the tests start would inherit that.
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
    """Return the state and all that follows it in the status of a process or a thread (proc(5)).
    Raise OSError where it has ended."""
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
    """Find a file, socket or connection that a test did not close while it is still that test's.

    Objects in reference cycles are freed at the next collection, with a ResourceWarning; without
    this that would be in the middle of another test. What exists before is frozen, so that the
    collection looks only at what the test made.
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
    """Kill the run's processes that no test owns, and return what they were."""
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
