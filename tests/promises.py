"""Measure promised times, such as "a killed driver shows within 1 s", even on busy machines.

The kernel measures how long tasks that could run had to wait for a processor (/proc/pressure/cpu,
PSI). That delay is the machine's and not plugind's, so it is subtracted from the time that was
measured. At most ``CREDIT`` times the promised time is subtracted, so a broken promise is detected
however busy the machine is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

CREDIT = 3.0

PATIENCE = 60.0
"""Seconds to wait for something that must happen but has no promised time. None of them are spent
when things work, and a slow machine may need them."""

SOON = 20.0
"""The shortest time limit that a test may set while other tests run: many times what the operation
takes on a busy machine, and much less than the delay that the test must rule out. A shorter limit
is a promised time, which only tests marked ``alone`` or ``soak`` may check, as nothing runs beside
them."""

COMMAND_MAXIMUM = 240.0
"""Seconds that a command may take: less than its test may, so the test can show its output."""

REFERENCE = 0.028
"""Seconds of processor time that ``_work`` takes on the machine on which limits were chosen."""

SLOWEST = 3.0

T = TypeVar("T")

_PRESSURE = Path("/proc/pressure/cpu")
_TOTAL = re.compile(r"^some .*total=(\d+)", re.MULTILINE)


def stalled() -> float:
    """Return the seconds since boot during which any task waited for a processor.

    Return 0.0 if the kernel does not measure them.
    """
    try:
        found = _TOTAL.search(_PRESSURE.read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1_000_000 if found else 0.0


class Neighbours:
    """Whether other tests may run at the same time as this one."""

    def __init__(self) -> None:
        self.are_there = False

    def allow(self, seconds: float) -> None:
        """Fail if a time limit is too short for a test that runs beside others.

        The failure is not an AssertionError, because some tests expect an AssertionError from a
        fault that they injected.
        """
        if seconds < SOON and self.are_there:
            pytest.fail(
                f"a test that runs beside others must not bound time by {seconds:g} s: have an "
                f"event show it, or SOON ({SOON:g} s), or mark the test as alone"
            )


neighbours = Neighbours()


class Watch:
    """Measure time from now on, without the machine's own delay."""

    def __init__(self) -> None:
        self._started, self._stalled = time.monotonic(), stalled()

    def is_over(self, seconds: float) -> bool:
        """Return whether that many seconds have passed, without the delay."""
        neighbours.allow(seconds)
        return is_longer(*self.read(), seconds)

    def read(self) -> tuple[float, float]:
        """Return the seconds that have passed by the clock, and the delay included in them."""
        return time.monotonic() - self._started, stalled() - self._stalled


def is_longer(took: float, delay: float, seconds: float) -> bool:
    """Return whether something took at least that many seconds, without the delay."""
    return took - min(delay, CREDIT * seconds) >= seconds


def slowness() -> float:
    """Return how many times slower this machine is now than the one of REFERENCE, from 1 to
    SLOWEST.

    The same processor work is timed on both. A neighbour on the same host makes a machine slow.
    """
    began = time.process_time()
    _work()
    return min(max(1.0, (time.process_time() - began) / REFERENCE), SLOWEST)


def _work() -> None:
    values = {}
    for number in range(200_000):
        values[number % 1_000] = str(number)


@contextmanager
def promised(seconds: float) -> Iterator[None]:
    """Fail unless the block ends within ``seconds``, not counting the machine's own delay."""
    neighbours.allow(seconds)
    watch = Watch()
    yield
    took, delay = watch.read()  # once: a busy thread makes it slow
    assert not is_longer(took, delay, seconds), (
        f"promised within {seconds} s; it took {took:.2f} s, in which the machine kept tasks "
        f"waiting for {delay:.2f} s"
    )


def eventually(
    look: Callable[[], T],
    within: float = PATIENCE,
    every: float = 0.02,
    what: Callable[[], object] = lambda: "",
) -> T:
    """Return the first true value of ``look``.

    After ``within`` seconds, not counting the machine's own delay, fail with the last value and the
    result of ``what``.
    """
    neighbours.allow(within)
    watch = Watch()
    while not (value := look()):
        assert not watch.is_over(within), (
            f"not within {within} s; the last look gave {value!r} {what()}"
        )
        time.sleep(every)
    return value
