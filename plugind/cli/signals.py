"""The signals that a running process handles, one at a time and in order, and its end.

A process that is to end first finishes the work in hand. Some of that may never end, as on a disk
that hangs. So SIGTERM and SIGINT start a clock: when its time is over, the process exits at once.
Acknowledged changes are durable by then.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from plugind import logs
from plugind.health.threads import OwnedThread

STOP = (signal.SIGTERM, signal.SIGINT)

GRACE = 15.0
"""Seconds from SIGTERM or SIGINT to the exit at the latest. The client role alone takes at most
10 to end in order, the server role 13."""

_ALL = 65_536  # bytes: more signals than a socket's buffer holds
_LOG_TIMEOUT = 0.5

_log = logs.get("main")


class Signals:
    """A receiver of SIGTERM, SIGINT and SIGHUP, made once in a process.

    The kernel may deliver a signal to any thread, which does not wake a main thread that waits for
    a lock. So Python writes each signal to a socket, which one thread reads: it wakes the main
    thread. The handlers are set before anything else starts, for SIGINT may have been ignored by
    the parent process.

    After SIGTERM or SIGINT the process exits with status 1 unless it ends, or calls ``close``,
    within ``grace`` seconds. The same thread keeps that time, for the main thread may hang. Before
    the exit it calls ``last``. In a process that is not ``ended_by_signals``, these two do nothing:
    ``end`` takes their place.
    """

    def __init__(self, grace: float = GRACE, *, ended_by_signals: bool = True) -> None:
        self.last: Callable[[], object] = lambda: None
        self._grace = grace
        self._came = threading.Event()
        self._stopping = threading.Event()
        self._stop_signal = 0
        self._closed = threading.Event()
        self._receiving, self._sending = socket.socketpair()
        self._sending.setblocking(False)
        signal.set_wakeup_fd(self._sending.fileno(), warn_on_full_buffer=False)
        self._stops = STOP if ended_by_signals else ()
        # A handler that does nothing, for child processes would inherit that it is ignored.
        for number in (*STOP, signal.SIGHUP):
            noted = self._note_stop if number in self._stops else lambda number, frame: None
            signal.signal(number, noted)
        # The entry point, or a parent, blocked them, so that an early one does not end this.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*STOP, signal.SIGHUP})
        OwnedThread("signals", self._receive, restarts=True).start()

    def wait(self) -> int:
        """Return the next signal.

        All signals since the last call count as one: SIGTERM or SIGINT if one of them ever came,
        else SIGHUP.
        """
        if not self._stop_signal:
            self._came.wait()
            self._came.clear()
        return self._stop_signal or signal.SIGHUP

    def end(self) -> None:
        """Have the process end as after SIGTERM; any thread may call it."""
        self._note_stop(signal.SIGTERM)

    def rest(self, seconds: float) -> None:
        """Leave signals waiting for some seconds, or until one is to end the process."""
        self._stopping.wait(seconds)

    def close(self) -> None:
        """Stop the clock: the process has ended in order."""
        self._closed.set()

    def _note_stop(self, number: int, frame: object = None) -> None:
        """Note a signal for which the socket may have had no room, behind many others."""
        self._stop_signal = number
        with suppress(BlockingIOError):  # then there is something to read, too
            self._sending.send(bytes([number]))

    def _receive(self) -> None:
        """Read signals until one is to end the process, and then look at the clock."""
        while not self._stop_signal:
            came = self._receiving.recv(_ALL)
            if stop := next((number for number in came if number in self._stops), 0):
                self._stop_signal = stop
            self._came.set()
        self._came.set()
        self._stopping.set()
        if not self._closed.wait(self._grace):
            _exit(self._grace, self.last)


def _exit(grace: float, last: Callable[[], object]) -> None:
    """End the process at once; that is logged, unless the log hangs as well."""
    with suppress(Exception):
        last()
    text = "the process could not end in good order in time and exits now"
    last_line = threading.Thread(target=lambda: _log.error(text, seconds=grace), daemon=True)
    last_line.start()
    last_line.join(_LOG_TIMEOUT)
    os._exit(1)
