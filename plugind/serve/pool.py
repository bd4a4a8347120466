"""Threads for the steps of requests. Only a few of them compete for the interpreter at a time.

1. ``core`` jobs run at a time. If others wait and none of these has ended for ``LONG``, most likely
   all of them wait for the store or a lock, so ``core`` more may begin. The number falls again as
   jobs end.
2. The addresses of clients take turns, so that many requests of one address wait for each other and
   do not delay those of others.
3. Threads are started when they are needed, at most ``maximum``.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from plugind import logs
from plugind.health.threads import OwnedThread
from plugind.serve.mailbox import Mailbox
from plugind.serve.workers import LastIdleFirst

LONG = 0.05
"""Seconds without a job ending after which more jobs are begun."""


_log = logs.get("threads")

Job = Callable[[], object]
"""A function that is called once in a thread, and does not raise."""


class Pool:
    """Threads that work for an event loop, by the rules in the module's docstring.

    ``beside`` is the pool in which long work continues.
    """

    def __init__(
        self, name: str, mailbox: Mailbox, core: int, maximum: int, beside: Pool | None = None
    ) -> None:
        self.beside = beside
        self._name = name
        self._mailbox = mailbox
        self._core = core
        self._maximum = maximum
        self._lock = threading.Lock()
        self._idle = LastIdleFirst(self._lock)
        self._ready: dict[str, deque[Job]] = {}  # by client, in the order of their turns
        self._count = 0  # of running jobs
        self._extra = 0
        self._last_end = 0.0
        self._looks_again = False
        self._has_logged = False
        self._is_closed = False
        self.threads: list[OwnedThread] = []

    def submit(self, job: Job, client: str = "") -> None:
        """Have a function called in a thread when it is its client's turn. Thread-safe."""
        with self._lock:
            self._ready.setdefault(client, deque()).append(job)
            if self._free() > 0:
                self._begin()
            if self._looks_again:
                return
            self._looks_again = True
        self._mailbox.post(self._look_later)

    def close(self) -> None:
        """End the threads, each after its current job."""
        with self._lock:
            self._is_closed = True
            self._idle.notify_all()

    def _begin(self) -> None:
        """Have one more thread take a job, if the maximum allows it."""
        if self._idle:
            self._idle.notify()
        elif len(self.threads) < self._limit:
            self._start_thread()

    def _start_thread(self) -> None:
        thread = OwnedThread(f"{self._name} {len(self.threads) + 1}", self._work, restarts=True)
        try:
            thread.start()
        except RuntimeError as error:  # the start is retried as long as jobs wait
            if not self._has_logged:
                text = "the process may have no more threads, so requests wait for those it has"
                _log.error(text, pool=self._name, threads=len(self.threads), reason=str(error))
            self._has_logged = True
        else:
            self.threads.append(thread)
            self._has_logged = False

    def _look_later(self) -> None:
        self._mailbox.loop.call_later(LONG, self._look)

    def _look(self) -> None:
        """Begin more jobs if the running ones do not end."""
        try:
            with self._lock:
                if not self._ready:
                    # If the running jobs block, the next job finds a place after one check.
                    self._extra = max(0, self._count - self._core)
                elif time.monotonic() - self._last_end > LONG:
                    self._extra = min(self._extra + self._core, self._maximum)
                    waiting = sum(map(len, self._ready.values()))
                    for _ in range(min(waiting, self._free())):
                        self._begin()
        finally:
            with self._lock:
                self._looks_again = looks_again = bool(self._ready)
            if looks_again:
                self._look_later()

    def _free(self) -> int:
        """Return how many more jobs may begin."""
        return self._limit - self._count

    @property
    def _limit(self) -> int:
        return min(self._core + self._extra, self._maximum)

    def _take(self) -> Job | None:
        """Return the job whose turn it is, None if no job may begin."""
        if not self._ready or self._free() <= 0:
            return None
        client = next(iter(self._ready))
        jobs = self._ready.pop(client)
        job = jobs.popleft()
        if jobs:
            self._ready[client] = jobs  # after the other clients
        self._count += 1
        return job

    def _work(self) -> None:
        while True:
            with self._lock:
                while (job := self._take()) is None:
                    if self._is_closed:
                        return
                    self._idle.wait()
            try:
                job()
            finally:
                with self._lock:
                    self._count -= 1
                    self._last_end = time.monotonic()
