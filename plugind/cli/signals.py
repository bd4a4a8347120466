"""The signals that a running process handles, one at a time and in order, and its end.

A process that is asked to end first finishes the work in progress. Some of that work may never
finish, for example on a disk that hangs. So SIGTERM and SIGINT start a timer; when it expires, the
process exits at once. Acknowledged changes are durable by then.
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
"""Seconds from SIGTERM or SIGINT to the exit, at most. An orderly end takes at most 10 for the
client role alone, and 13 for the server role."""

_ALL = 65_536  # bytes: more signals than a socket's buffer holds
_LOG_TIMEOUT = 0.5

_log = logs.get("main")


class Signals:
    """A receiver of SIGTERM, SIGINT and SIGHUP, created once per process.

    The kernel may deliver a signal to any thread, and that does not wake a main thread that waits
    for a lock. So Python writes each signal to a socket; one thread reads the socket and wakes the
    main thread. The handlers are set before anything else starts, because the parent process may
    have ignored SIGINT.

    After SIGTERM or SIGINT, the process exits with status 1 unless it ends, or calls ``close``,
    within ``grace`` seconds. The thread that reads signals also measures that time, because the
    main thread may hang. Before the exit it calls ``last``. In a process that is not
    ``ended_by_signals``, SIGTERM and SIGINT do nothing: ``end`` takes their place.
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
        # A handler that does nothing instead of SIG_IGN, which child processes would inherit.
        for number in (*STOP, signal.SIGHUP):
            noted = self._note_stop if number in self._stops else lambda number, frame: None
            signal.signal(number, noted)
        # The entry point, or a parent, blocked them so that early signals do not end the process.
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
        """Make the process end as after SIGTERM; any thread may call this."""
        self._note_stop(signal.SIGTERM)

    def rest(self, seconds: float) -> None:
        """Wait for some seconds, or until the process is to end; other signals are kept waiting."""
        self._stopping.wait(seconds)

    def close(self) -> None:
        """Stop the timer: the process has ended in an orderly way."""
        self._closed.set()

    def _note_stop(self, number: int, frame: object = None) -> None:
        """Record a signal that the socket may have had no room for, after many others."""
        self._stop_signal = number
        with suppress(BlockingIOError):  # a full socket wakes the thread that reads it anyway
            self._sending.send(bytes([number]))

    def _receive(self) -> None:
        """Read signals until one asks the process to end, then wait for the timer."""
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
    """Exit at once; log that first, unless logging hangs as well."""
    with suppress(Exception):
        last()
    text = "the process could not end in good order in time and exits now"
    last_line = threading.Thread(target=lambda: _log.error(text, seconds=grace), daemon=True)
    last_line.start()
    last_line.join(_LOG_TIMEOUT)
    os._exit(1)
