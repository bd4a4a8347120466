"""Give other threads the interpreter while one thread works on something large.

Python runs one thread at a time, and lets a computing thread run for 5 ms while others wait. A
plain read needs the interpreter about ten times, a commit thirty times, so a few busy threads make
both slow. Three measures help while any large work is in progress:

1. Threads hand over after 0.2 ms. With two reports of 4,096 changing instances always in progress,
   a small report took, at the median, 300 ms at Python's 5 ms, 80 ms at 1 ms and at 0.5 ms, and
   39 ms at 0.2 ms. Under many plain reads the shorter intervals take 6 to 11 % more CPU, so they
   are not used all the time.
2. Large work takes a break after each millisecond, for as long as it has worked. So the interpreter
   is idle now and then, and a thread that needs it for a moment does not have to request it: the
   small report then took 22 ms.
3. Some calls, such as json.loads, do not hand over at all before they end. Large work makes only
   one of them at a time, and the break after it is four times as long as the call: at the median,
   other threads do not have to wait for such a call.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

INTERVAL = 0.0002
"""Seconds that a thread runs while others wait."""

WORK = 0.001
"""Seconds of processor time after which large work takes a break."""

LONG = 0.005
"""Seconds of work without a break after which the next break is REST times as long."""

OTHERS = 0.1
"""Other threads count as running if their work is more than this share of the thread's own work."""

REST = 4
BREAK_MAXIMUM = 1.0

_NOTHING = nullcontext()  # shared by all small work, because it has no state

_alone = threading.Lock()
_lock = threading.Lock()
_usual = sys.getswitchinterval()
_count = 0


class _Mine(threading.local):
    """The state of this thread.

    ``is_large``: it works on something large. ``is_modest``: it takes full breaks even while no
    other thread runs. The rest says when its last break ended: in processor time of the thread
    (``worked``) and of the process (``process``), and by the monotonic clock (``ended``).
    """

    is_large = False
    is_modest = True
    worked = 0.0
    process = 0.0
    ended = 0.0


_mine = _Mine()


@contextmanager
def large(*, is_modest: bool = True) -> Iterator[None]:
    """Let this thread leave much of the interpreter's time to others while the block lasts.

    If ``is_modest`` is False, its breaks are short while no other thread runs: for work that a
    client waits for, and for a server that has just started and has nothing else to do.
    """
    outer = _mine.is_large, _mine.is_modest
    _mine.is_large, _mine.is_modest = True, is_modest
    _add(1)
    _break(0.0)
    try:
        yield
    finally:
        step()  # Freeing large objects takes long, too.
        _mine.is_large, _mine.is_modest = outer
        _add(-1)


def alone() -> AbstractContextManager[None]:
    """Make a call that does not hand over; meanwhile no other large work makes such a call."""
    return _alone_with_a_break() if _mine.is_large else _NOTHING


@contextmanager
def _alone_with_a_break() -> Iterator[None]:
    with _alone:
        started = time.monotonic()
        try:
            yield
        finally:
            # Use the clock: others also waited while another program had the processor.
            held_up = time.monotonic() - max(started, _mine.ended)
            if time.thread_time() - _mine.worked >= LONG:
                _break(REST * held_up)


def step() -> None:
    """Take a break if this thread works on something large and has run for WORK since the last."""
    if _mine.is_large:
        worked = time.thread_time() - _mine.worked
        if worked >= WORK:
            if not (_mine.is_modest or _others_ran(worked)):
                worked *= OTHERS
            _break(worked if worked < LONG else REST * worked)


def _others_ran(worked: float) -> bool:
    """Return whether other threads ran while this one worked for ``worked`` seconds."""
    return time.process_time() - _mine.process - worked > OTHERS * worked


def _break(seconds: float) -> None:
    time.sleep(min(seconds, BREAK_MAXIMUM))
    _mine.worked, _mine.ended = time.thread_time(), time.monotonic()
    _mine.process = time.process_time()


def _add(number: int) -> None:
    global _count
    with _lock:
        _count += number
        sys.setswitchinterval(INTERVAL if _count else _usual)
