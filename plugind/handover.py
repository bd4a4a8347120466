"""Give other threads the interpreter while one thread works on something large.

Python runs one thread at a time, and lets a computing thread go on for 5 ms while others wait. A
plain read needs the interpreter some ten times, a commit thirty times, so a few busy threads make
both slow. Three measures help, for as long as something large is in work:

1. Threads hand over after 0.2 ms. With two reports of 4,096 changing instances in work all the time
   a small report took, at the median, 300 ms at Python's 5 ms, 80 ms at 1 ms and at 0.5 ms, and
   39 ms at 0.2 ms. Under many plain reads the shorter intervals take 6 to 11 % more CPU, so none of
   them is in force all the time.
2. Large work takes a break after each millisecond, and the break is as long. So the interpreter is
   idle now and then, and a thread that needs it for a moment does not have to ask for it: 22 ms.
3. Some calls, such as json.loads, do not hand over at all before they end. Large work makes only
   one of them at a time, and the break after it is four times as long: at the median, other threads
   do not meet it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

INTERVAL = 0.0002
"""Seconds that a thread runs while others wait."""

WORK = 0.001
"""Seconds of the processor after which large work takes a break."""

LONG = 0.005
"""Seconds without a break after which the next one is REST times as long."""

REST = 4
BREAK_MAXIMUM = 1.0

_alone = threading.Lock()
_lock = threading.Lock()
_usual = sys.getswitchinterval()
_count = 0


class _Mine(threading.local):
    """The state of this thread: whether it works on something large, and when its last break ended,
    by the thread's processor time and by the clock.
    """

    is_large = False
    worked = 0.0
    ended = 0.0


_mine = _Mine()


@contextmanager
def large() -> Iterator[None]:
    """Let this thread leave much of the interpreter to others while the block lasts."""
    outer, _mine.is_large = _mine.is_large, True
    _add(1)
    _break(0.0)
    try:
        yield
    finally:
        step()  # Freeing large objects takes long, too.
        _mine.is_large = outer
        _add(-1)


@contextmanager
def alone() -> Iterator[None]:
    """Make a call that does not hand over; meanwhile no other large work makes one."""
    if not _mine.is_large:
        yield
        return
    with _alone:
        started = time.monotonic()
        try:
            yield
        finally:
            # The clock counts, for others also waited while another program had the processor.
            held_up = time.monotonic() - max(started, _mine.ended)
            if time.thread_time() - _mine.worked >= LONG:
                _break(REST * held_up)


def step() -> None:
    """Take a break if this thread works on something large, and has since the last break."""
    if _mine.is_large:
        worked = time.thread_time() - _mine.worked
        if worked >= WORK:
            _break(worked if worked < LONG else REST * worked)


def _break(seconds: float) -> None:
    time.sleep(min(seconds, BREAK_MAXIMUM))
    _mine.worked, _mine.ended = time.thread_time(), time.monotonic()


def _add(number: int) -> None:
    global _count
    with _lock:
        _count += number
        sys.setswitchinterval(INTERVAL if _count else _usual)
