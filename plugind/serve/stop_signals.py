"""Handles the signals of a process whose HTTP server is not plugind's own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType

_STOP = signal.SIGTERM, signal.SIGINT


def heed(wake: Callable[[], object], reload: Callable[[], object]) -> None:
    """Have ``wake`` called before the server's own handlers of SIGTERM and SIGINT, and ``reload``
    on SIGHUP; each in a thread of its own.

    Servers end only once all requests are answered, and without ``wake`` parked queries might take
    minutes. Do nothing outside the main thread, where Python allows no handler to be set.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _STOP:
        old = signal.getsignal(number)
        signal.signal(number, partial(_stop, wake, old))
    signal.signal(signal.SIGHUP, lambda number, frame: _in_thread("reload", reload))


def _stop(wake: Callable[[], object], old: object, number: int, frame: FrameType | None) -> None:
    _in_thread("wake", wake)
    if callable(old):
        old(number, frame)
    elif old == signal.SIG_DFL:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def _in_thread(name: str, call: Callable[[], object]) -> None:
    """Call a function in a thread, because it takes locks that the interrupted code may hold."""
    threading.Thread(target=call, name=name, daemon=True).start()
