"""Threads for the steps of requests, few of which compete for the interpreter at a time.

1. ``core`` jobs are in work at a time. One that takes longer than ``LONG`` does not count as such:
   most likely it waits, for the store or a lock, and keeps no other from the interpreter.
2. The addresses of clients take turns, so that many requests of one wait for each other and not
   those of others for them.
3. Threads are started when they are needed, ``maximum`` at most.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from plugind.health.threads import OwnedThread
from plugind.serve.mailbox import Mailbox
from plugind.serve.workers import LastIdleFirst

LONG = 0.05
"""Seconds after which a job in work keeps no other one waiting."""


class _Job:
    """A function to be called in a thread, and the future of what it returns."""

    __slots__ = ("future", "run")

    def __init__(self, run: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self.run = run
        self.future = future


class Pool:
    """Threads that work for an event loop; the module says by which rules."""

    def __init__(self, name: str, mailbox: Mailbox, core: int, maximum: int) -> None:
        self._name = name
        self._mailbox = mailbox
        self._core = core
        self._maximum = maximum
        self._lock = threading.Lock()
        self._idle = LastIdleFirst(self._lock)
        self._ready: dict[str, deque[_Job]] = {}  # by client, whose turn is next first
        self._began: dict[_Job, float] = {}
        self._looks_again = False
        self._is_closed = False
        self.threads: list[OwnedThread] = []

    def submit(self, run: Callable[[], Any], client: str = "") -> asyncio.Future[Any]:
        """Have a function called in a thread, in its client's turn; return the future of what it
        returns. Only for the loop's thread."""
        job = _Job(run, self._mailbox.loop.create_future())
        with self._lock:
            self._ready.setdefault(client, deque()).append(job)
            if self._free() > 0:
                self._begin()
            if not self._looks_again:
                self._look_later()
        return job.future

    def close(self) -> None:
        """End the threads, each after the job that it has in work."""
        with self._lock:
            self._is_closed = True
            self._idle.notify_all()

    def _begin(self) -> None:
        """Have one more thread take a job, if there may be one."""
        if self._idle:
            self._idle.notify()
        elif len(self.threads) < self._maximum:
            name = f"{self._name} {len(self.threads) + 1}"
            self.threads.append(OwnedThread(name, self._work, restarts=True))
            self.threads[-1].start()

    def _look(self) -> None:
        """Have jobs taken that waited only for such as take long by now."""
        with self._lock:
            for _ in range(min(len(self._ready), self._free())):
                self._begin()
            self._look_later()

    def _look_later(self) -> None:
        self._looks_again = bool(self._ready)
        if self._looks_again:
            self._mailbox.loop.call_later(LONG, self._look)

    def _free(self) -> int:
        """Return how many more jobs may begin."""
        count = len(self._began)
        if count >= self._core:
            long_ago = time.monotonic() - LONG
            count = sum(began > long_ago for began in self._began.values())
        return min(self._core - count, self._maximum - len(self._began))

    def _take(self) -> _Job | None:
        """Return the job whose turn it is, None while there is none that may begin."""
        if not self._ready or self._free() <= 0:
            return None
        client = next(iter(self._ready))
        jobs = self._ready.pop(client)
        job = jobs.popleft()
        if jobs:
            self._ready[client] = jobs  # behind the others
        self._began[job] = time.monotonic()
        return job

    def _work(self) -> None:
        while True:
            with self._lock:
                while (job := self._take()) is None:
                    if self._is_closed:
                        return
                    self._idle.wait()
            self._do(job)

    def _do(self, job: _Job) -> None:
        """Do a job, and have its future know how it ended."""
        try:
            result, error = job.run(), None
        except BaseException as raised:
            result, error = None, raised
        finally:
            with self._lock:
                del self._began[job]
        self._mailbox.post(partial(_end, job.future, result, error))


def _end(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # its task was cancelled
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
