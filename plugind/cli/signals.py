"""The signals that a running process handles, one at a time and in order, and its end.

A process that is to end first finishes the work in hand. Some of that may never end, as on a disk
that hangs. So SIGTERM and SIGINT start a clock: when its time is over, the process exits at once.
Acknowledged changes are durable by then.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from contextlib import suppress

from plugind import logs
from plugind.health.threads import OwnedThread

STOP = (signal.SIGTERM, signal.SIGINT)

GRACE = 15.0
"""Seconds from SIGTERM or SIGINT to the exit at the latest. The client role alone takes at most
10 to end in order, the server role 13."""

_ALL = 65_536  # bytes: more signals than a socket's buffer holds
_LOOK_INTERVAL = 0.1
_LOG_TIMEOUT = 0.5

_log = logs.get("main")


class Signals:
    """A receiver of SIGTERM, SIGINT and SIGHUP, made once in a process.

    They come through a socket, for the kernel may deliver a signal to any thread, which does not
    wake a main thread that waits for a lock. The handlers are set before anything else starts, for
    SIGINT may have been ignored by the parent process.

    After SIGTERM or SIGINT the process exits with status 1 unless it ends, or calls ``close``,
    within ``grace`` seconds. The clock runs in a thread of its own, for the main thread may hang.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self._grace = grace
        self._closed = threading.Event()
        self._receiving, self._sending = socket.socketpair()
        self._sending.setblocking(False)
        signal.set_wakeup_fd(self._sending.fileno(), warn_on_full_buffer=False)
        self._stop_signal = 0  # also where the socket has no room for it behind many SIGHUPs
        for number in STOP:
            signal.signal(number, self._note_stop)
        signal.signal(signal.SIGHUP, lambda number, frame: None)
        # The entry point blocked SIGHUP, so that an early one is not lost.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        self._stop_by: float | None = None
        self._clock = OwnedThread("stop clock", self._watch, restarts=True)
        self._clock.start()

    def wait(self) -> int:
        """Return the next signal.

        All signals since the last call count as one: SIGTERM or SIGINT if it is among them, else
        SIGHUP.
        """
        came = self._receiving.recv(_ALL)
        stops = (number for number in came if number in STOP)
        number = next(stops, self._stop_signal) or signal.SIGHUP
        self._stop_signal = 0
        if number in STOP:
            self._begin_to_stop()
        return number

    def rest(self, seconds: float) -> None:
        """Leave signals waiting for some seconds, or until one is to end the process."""
        end = time.monotonic() + seconds
        while not (self._stop_by or self._stop_signal) and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_INTERVAL))

    def close(self) -> None:
        """End the clock: the process has ended in order."""
        self._closed.set()

    def _note_stop(self, number: int, frame: object) -> None:
        self._stop_signal = number

    def _begin_to_stop(self) -> None:
        self._stop_by = self._stop_by or time.monotonic() + self._grace

    def _watch(self) -> None:
        """Look at signals before the main thread takes them, until the process is to end, and then
        at the clock."""
        poll = select.poll()
        poll.register(self._receiving, select.POLLIN)
        while self._stop_by is None:
            poll.poll()
            with suppress(BlockingIOError):  # the main thread has taken it
                came = self._receiving.recv(_ALL, socket.MSG_PEEK | socket.MSG_DONTWAIT)
                if self._stop_signal or any(number in STOP for number in came):
                    self._begin_to_stop()
            self._closed.wait(_LOOK_INTERVAL)  # until the main thread takes it
        if not self._closed.wait(max(0.0, self._stop_by - time.monotonic())):
            _exit(self._grace)


def _exit(grace: float) -> None:
    """End the process at once; that is logged, unless the log hangs as well."""
    text = "the process could not end in good order in time and exits now"
    last_line = threading.Thread(target=lambda: _log.error(text, seconds=grace), daemon=True)
    last_line.start()
    last_line.join(_LOG_TIMEOUT)
    os._exit(1)
