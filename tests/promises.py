"""Measure promises of seconds, such as "a killed driver shows within 1 s", on busy machines too.

The kernel counts the time in which a task that could run had to wait for a processor
(/proc/pressure/cpu, PSI). That time is the machine's delay and not plugind's, so it is subtracted
from what a promise took. At most ``CREDIT`` times the promise is subtracted: however busy the
machine is, a promise can be broken.
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
"""Seconds to wait for what has to happen, but is promised by no time: none of them are spent when
things work, and a slow machine may need them."""

SOON = 20.0
"""The shortest bound on the time of what a test does beside others: many times what it takes on a
busy machine, and much less than what it must not wait for. A shorter one is a promise of seconds,
and holds only for tests that are marked ``alone`` or ``soak``, beside which nothing else runs."""

COMMAND_MAXIMUM = 240.0
"""Seconds that a command may take: less than a test, so that its own output is shown."""

REFERENCE = 0.028
"""Seconds of the processor that ``_work`` takes on the machine that the limits were chosen on."""

SLOWEST = 3.0

T = TypeVar("T")

_PRESSURE = Path("/proc/pressure/cpu")
_TOTAL = re.compile(r"^some .*total=(\d+)", re.MULTILINE)


def stalled() -> float:
    """Return the seconds since boot in which any task waited for a processor.

    Return 0.0 where the kernel does not count them.
    """
    try:
        found = _TOTAL.search(_PRESSURE.read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1_000_000 if found else 0.0


class Neighbours:
    """Whether other tests may run beside the present one."""

    def __init__(self) -> None:
        self.are_there = False

    def allow(self, seconds: float) -> None:
        """Fail where a bound on time is too short for a test that runs beside others.

        This is no AssertionError, which some tests expect of a fault that they have made.
        """
        if seconds < SOON and self.are_there:
            pytest.fail(
                f"a test that runs beside others must not bound time by {seconds:g} s: have an "
                f"event show it, or SOON ({SOON:g} s), or mark the test as alone"
            )


neighbours = Neighbours()


class Watch:
    """Measures time from now on, the machine's own delay not counted."""

    def __init__(self) -> None:
        self._started, self._stalled = time.monotonic(), stalled()

    def is_over(self, seconds: float) -> bool:
        """Return whether that much time is over, but for the delay."""
        neighbours.allow(seconds)
        return is_longer(*self.read(), seconds)

    def read(self) -> tuple[float, float]:
        """Return how many seconds are over by the clock, and the delay among them."""
        return time.monotonic() - self._started, stalled() - self._stalled


def is_longer(took: float, delay: float, seconds: float) -> bool:
    """Return whether something took that many seconds, but for the delay."""
    return took - min(delay, CREDIT * seconds) >= seconds


def slowness() -> float:
    """Return how many times as long as the machine of REFERENCE this one takes now for the same
    work of the processor: from 1 to SLOWEST. A neighbour on the same host makes a machine slow."""
    began = time.process_time()
    _work()
    return min(max(1.0, (time.process_time() - began) / REFERENCE), SLOWEST)


def _work() -> None:
    values = {}
    for number in range(200_000):
        values[number % 1_000] = str(number)


@contextmanager
def promised(seconds: float) -> Iterator[None]:
    """Fail unless the block ends within ``seconds``, the machine's own delay not counted."""
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

    Fail with its last value, and with ``what`` then is, after ``within`` seconds, the machine's own
    delay not counted.
    """
    neighbours.allow(within)
    watch = Watch()
    while not (value := look()):
        assert not watch.is_over(within), (
            f"not within {within} s; the last look gave {value!r} {what()}"
        )
        time.sleep(every)
    return value
