"""Keeps one worker process running: starts it, and starts another if it ends."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import TypeAlias

from plugind import logs
from plugind.health.threads import RESTART_AFTER, RESTART_AFTER_MAXIMUM, STEADY, OwnedThread
from plugind.processes.orders import (
    SEND_TIMEOUT,
    START_TIMEOUT,
    Done,
    Failed,
    Loaded,
    Order,
    Ready,
    Start,
    Stop,
    TakeAcl,
    limit_sending,
)

AFTER_CLOSING = 15.0
"""Seconds that a worker may run on after it has closed its connection to the parent."""

DOWN_LONG = 5.0
"""Seconds without a worker after which the server counts as unhealthy."""

_log = logs.get("server")

Answers: TypeAlias = "queue.Queue[Done | None]"
"""The answers of one process; None comes last, when the process has ended."""

Spawn: TypeAlias = Callable[[int], tuple["subprocess.Popen[bytes]", Connection]]
"""Takes the number of a worker, and starts its process."""


class Keeper:
    """Keeps the worker with that number running, from ``start`` until ``stop``.

    ``orders`` returns the order to start the worker with, and, once it has loaded, the
    configuration in force by then. ``ended`` is called when a process has ended, and ``changed``
    when its state has changed. With ``must_start``, the worker is not started again if it ends
    before it has ever served.
    """

    def __init__(
        self,
        number: int,
        spawn: Spawn,
        orders: Callable[[], Start],
        changed: Callable[[], object],
        ended: Callable[[int], object],
        *,
        must_start: bool = False,
    ) -> None:
        self.number = number
        self.settled = threading.Event()
        """Set once the worker serves, or has failed to for the first time."""
        self.failure = ""
        """Why the last process ended, "" while one serves."""
        self.refusal = ""
        """The reason that the last process itself gave for not starting; "" if it gave none."""
        self.deaths = 0
        self._spawn = spawn
        self._orders = orders
        self._changed = changed
        self._has_ended = ended
        self._must_start = must_start
        self._has_served = False
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # of the process and its connection
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._takes_orders = False
        self._answers: Answers = queue.Queue()
        self._last_end = ""
        self._down_since = time.monotonic()
        self.thread = OwnedThread(f"worker {number}", self._run, restarts=True)

    @property
    def is_up(self) -> bool:
        """Return whether the worker serves, as far as its parent knows."""
        return self.settled.is_set() and not self.failure

    @property
    def down_for(self) -> float:
        """Return for how many seconds no process has served; 0 while one does."""
        return time.monotonic() - self._down_since if self.failure else 0.0

    @property
    def trouble(self) -> str:
        """Return how often the worker died, and how it died the last time."""
        times = "once" if self.deaths == 1 else f"{self.deaths:,} times"
        outcome = "is started again" if self.failure else "was restarted"
        return f"worker {self.number} died {times} ({self._last_end}) and {outcome}"

    def start(self) -> None:
        """Begin to keep the worker running."""
        self.thread.start()

    def send(self, order: Order) -> Answers | None:
        """Send an order; return the queue of its answer, or None if no process takes the order.

        A process that is still loading gets the configuration in force later. A process that hangs
        is killed, so that its successor starts with that configuration.
        """
        with self._lock:
            return self._send(order)

    def _send(self, order: Order) -> Answers | None:
        if self._connection is None or not (self._takes_orders or isinstance(order, Stop)):
            return None
        try:
            self._connection.send(order)
        except OSError as error:
            _log.error("a worker takes no orders", worker=self.number, reason=str(error))
            self.kill()
            return None
        return self._answers

    def answer(self, answers: Answers, number: int, timeout: float) -> Done | None:
        """Return the answer to the order with that number; None if the process has died, or has
        given no answer within ``timeout`` seconds: then kill it."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                came = answers.get(timeout=max(0.0, deadline - time.monotonic()))
                if came is None or came.number == number:
                    return came
        except queue.Empty:
            _log.error("a worker gives no answer and is killed", worker=self.number)
            with self._lock:
                if answers is self._answers:  # else another process runs by now
                    self.kill()
            return None

    def stop(self) -> None:
        """Have the worker end, and start no other process."""
        self._stopping.set()
        self.send(Stop())

    def kill(self) -> None:
        """Kill the process, if there is one that was not waited for yet."""
        process = self._process  # a copy: the keeper's thread may set it to None meanwhile
        if process is not None:
            process.kill()

    def _run(self) -> None:
        in_a_row = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            self._one_life()
            if self._stopping.is_set() or (self._must_start and not self._has_served):
                return
            in_a_row = 0 if time.monotonic() - began > STEADY else in_a_row + 1
            delay = min(RESTART_AFTER * 2 ** min(in_a_row - 1, 10), RESTART_AFTER_MAXIMUM)
            if in_a_row:
                self._stopping.wait(delay)

    def _one_life(self) -> None:
        """Start a process, and wait until it has ended."""
        unstarted = self.refusal = ""
        try:
            with self._lock:
                if self._stopping.is_set():
                    return
                self._answers = queue.Queue()
                process, connection = self._spawn(self.number)
                self._process = process
            with connection:
                try:
                    self._begin(connection)
                    self._listen(connection, process.pid)
                finally:
                    with self._lock:
                        self._connection, self._takes_orders = None, False
        except Exception as error:  # whatever happens, no process may be left behind
            unstarted = f"it cannot be started: {error}"
            self.kill()
        status = self._end()
        if not self._stopping.is_set():
            self._died(unstarted or self.refusal or status)
        self._has_ended(self.number)
        self._answers.put(None)
        self.settled.set()
        self._changed()

    def _begin(self, connection: Connection) -> None:
        """Send a process its first order. This may take long, so the lock is not held meanwhile."""
        limit_sending(connection, START_TIMEOUT)
        connection.send(self._orders())
        limit_sending(connection, SEND_TIMEOUT)
        with self._lock:
            self._connection = connection
        if self._stopping.is_set():  # stop was called since the process was started
            self.send(Stop())

    def _listen(self, connection: Connection, pid: int) -> None:
        """Receive a worker's messages until it ends. Wait for its end as well, because a process
        that it started may keep the connection open for longer."""
        over = os.pidfd_open(pid)
        try:
            while connection in wait([connection, over]) or connection.poll():
                self._take(connection.recv())
        except (EOFError, OSError):
            return
        finally:
            os.close(over)

    def _take(self, came: object) -> None:
        """Handle a worker's message."""
        if isinstance(came, Loaded):
            with self._lock:  # no reload may come in between; later ones are sent to the worker
                self._takes_orders = True
                self._send(TakeAcl(self._orders().acl, 0))
        elif isinstance(came, Ready):
            self.failure = ""
            self._has_served = True
            self.settled.set()
            self._changed()
        elif isinstance(came, Failed):
            self.refusal = came.reason
        elif isinstance(came, Done):
            self._answers.put(came)

    def _end(self) -> str:
        """Wait for the end of the process; return its exit status or signal as text."""
        process = self._process
        if process is None:
            return ""
        try:
            status = process.wait(AFTER_CLOSING)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        with self._lock:
            self._process = None
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"

    def _died(self, how: str) -> None:
        self._last_end = how
        self.deaths += 1
        if not self.failure:
            self._down_since = time.monotonic()
        self.failure = how
        if self._has_served or not self._must_start:
            _log.error("a worker ended and is started again", worker=self.number, reason=how)
