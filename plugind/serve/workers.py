"""The threads that answer requests, and in which order they take them.

There are far more threads than may run at once, since parked requests keep theirs. So what bounds
how many threads of one client compete for the interpreter is the queue, and not their number.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from functools import partial
from typing import Protocol

from waitress.task import ThreadedTaskDispatcher

from plugind import logs
from plugind.health.threads import OwnedThread
from plugind.serve.askers import Askers

PIPELINED_MAXIMUM = 1
"""Pipelined requests that are answered at a time, without those that are parked."""

READS_MAXIMUM = 1
"""Reads of one address that are in work at a time, without those that wait for something."""

READ_LONG = 0.02
"""Seconds after which a read in work keeps no other of its address waiting: most likely it waits
itself, for the rendering of a list of very many plugins."""

PIPELINED_PAUSE = 3
REFUSED_PAUSE = 10
READ_PAUSE = 1
"""How many times the processor time of a pipelined request, of a refused one, or of a read, the
next one waits."""

PAUSE_MAXIMUM = 0.1  # seconds

SPARE = 4
"""Threads that are to be idle, so that the next requests find one."""

START_AGAIN = 1.0
"""Seconds after which threads are started again, where the process may have no more."""

_log = logs.get("threads")


class Task(Protocol):
    """A connection with a request from the address ``client``. ``is_pipelined``: it was sent before
    the one before it was answered. ``is_read``: it is one of those that count for READS_MAXIMUM.
    ``is_refused``: it was refused, or, until it is answered, the one before it was."""

    is_pipelined: bool
    is_read: bool
    is_refused: bool

    @property
    def client(self) -> str: ...


Turn = tuple[str, bool]
"""Who takes turns: the reads of an address, and what else it sends."""


class FairTasks:
    """A queue that serves addresses in turn, so that many requests of one wait for each other and
    not those of others for them. Of each address READS_MAXIMUM reads are in work at a time, and
    while others ask, too, a pause follows each: so the interpreter, which one thread has at a time,
    is idle when another thread needs it for a moment. Pipelined requests come last, a few at a
    time: nothing but an attack sends many.

    It has what waitress uses of a deque, and is used under the lock of the threads.
    """

    def __init__(self) -> None:
        self._ready: dict[Turn, deque[Task]] = {}  # in the order of their turns
        self._held: dict[Turn, deque[Task]] = {}  # until a read of the same address is done
        self._pipelined: deque[Task] = deque()
        # By address, with when each was taken (monotonic clock).
        self._readers: dict[str, dict[Task, float]] = {}
        self._reading: dict[Task, str] = {}
        self.askers = Askers()
        self.answering: dict[Task, float] = {}  # pipelined ones, with when each was taken

    def __len__(self) -> int:
        """Return how many requests may be taken now, of each address one at most."""
        free = PIPELINED_MAXIMUM - len(self.answering)
        return len(self._ready) + max(0, min(free, len(self._pipelined)))

    def append(self, task: Task) -> None:
        """Add a request, as the last one of its address."""
        if task.is_pipelined:
            self._pipelined.append(task)
            return
        turn = task.client, task.is_read
        self._free(turn)
        self._of(turn).setdefault(turn, deque()).append(task)

    def popleft(self) -> Task:
        """Take the next request of the address whose turn it is."""
        if not self._ready:
            task = self._pipelined.popleft()
            self.answering[task] = time.monotonic()
            return task
        turn = next(iter(self._ready))
        tasks = self._ready.pop(turn)
        task = tasks.popleft()
        client, is_read = turn
        self.askers.note(client)
        if is_read:
            self._end_read(task)  # the one before it on the connection, whose pause is not over
            self._readers.setdefault(client, {})[task] = time.monotonic()
            self._reading[task] = client
        if tasks:
            self._of(turn)[turn] = tasks
        return task

    def _of(self, turn: Turn) -> dict[Turn, deque[Task]]:
        """Return where the requests of a turn are, or are to be."""
        client, is_read = turn
        return self._held if is_read and self._is_full(client) else self._ready

    def _is_full(self, client: str) -> bool:
        """Return whether as many reads of an address are in work as may be, without long ones."""
        long_ago = time.monotonic() - READ_LONG
        began = self._readers.get(client, {}).values()
        return sum(each > long_ago for each in began) >= READS_MAXIMUM

    def _free(self, turn: Turn) -> None:
        """Let held reads be taken if there is a place."""
        if turn in self._held and not self._is_full(turn[0]):
            self._ready[turn] = self._held.pop(turn)

    @property
    def has_reads(self) -> bool:
        """Return whether reads are in work or wait, so that ``look`` is to be called soon."""
        return bool(self._readers or self._ready or self._held)

    @property
    def is_holding(self) -> bool:
        """Return whether reads wait for others of their address."""
        return bool(self._held)

    def look(self) -> None:
        """Let reads be taken whose address has only long ones in work by now."""
        for turn in list(self._held):
            self._free(turn)

    def taken_at(self, task: Task) -> float | None:
        """Return when a connection's request was taken (monotonic clock), if it counts as being in
        work, so that others wait for it."""
        if (client := self._reading.get(task)) is not None:
            return self._readers.get(client, {}).get(task)
        return self.answering.get(task)

    def pause(self, task: Task) -> int:
        """Return for how many times what a request took those that wait for it are to wait."""
        if task in self.answering:
            return PIPELINED_PAUSE
        if not self.askers.are_several:
            return 0
        if task.is_refused:
            return REFUSED_PAUSE
        return READ_PAUSE if (self._reading.get(task), True) in self._held else 0

    def release(self, task: Task) -> None:
        """Let other requests be taken, now that this one is not in work."""
        self.answering.pop(task, None)
        self._end_read(task)

    def _end_read(self, task: Task) -> None:
        client = self._reading.pop(task, None)
        if client is None:
            return
        del self._readers[client][task]
        if not self._readers[client]:
            del self._readers[client]
        self._free((client, True))


class LastIdleFirst:
    """A condition that wakes the thread that began to wait last, for what it uses is still in the
    processor's caches. So of hundreds of threads only those run that are needed at a time.

    It has what waitress uses of ``threading.Condition``; ``lock`` is held when it is used.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._idle: list[threading.Lock] = []

    def __len__(self) -> int:
        """Return how many threads wait and are not woken yet."""
        return len(self._idle)

    def wait(self) -> None:
        """Wait for ``notify``."""
        turn = threading.Lock()
        turn.acquire()
        self._idle.append(turn)
        self._lock.release()
        try:
            turn.acquire()
        except BaseException:  # the thread ends: another one has to be woken in its place
            with self._lock:
                if turn in self._idle:
                    self._idle.remove(turn)
                else:
                    self.notify()
            raise
        finally:
            self._lock.acquire()

    def notify(self, count: int = 1) -> None:
        """Wake ``count`` threads, or as many as there are."""
        for _ in range(min(count, len(self._idle))):
            self._idle.pop().release()

    def notify_all(self) -> None:
        """Wake all threads."""
        self.notify(len(self._idle))


class Workers(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Waitress' threads with a fair queue. They are started as they are needed, so many that
    ``SPARE`` of them are idle, up to the number of ``set_thread_count``.

    They are started by ``starter``, a thread of its own, for who starts one waits until it runs,
    and the loop has no time for that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairTasks()
        self.queue_cv = LastIdleFirst(self.lock)
        self.owned: list[OwnedThread] = []
        self._maximum = 0
        self._coming: set[int] = set()  # the numbers of threads that were started a moment ago
        self._lacks = threading.Condition(self.lock)
        self._again_at = 0.0  # when threads may be started again (monotonic clock)
        self._has_logged = False
        self.starter = OwnedThread("workers", self._start_missing, restarts=True)

    def set_thread_count(self, count: int) -> None:
        """Say how many threads there may be, before ``starter`` is started; 0 at the end, when all
        threads end, each after its request. Raise ValueError for any other change."""
        with self.lock:
            if count and self.starter.ident is not None:
                raise ValueError("threads that were started can only be ended, all of them")
            self._maximum = count
            if not count:
                self.stop_count = len(self.threads)
                self._lacks.notify()
                self.queue_cv.notify_all()

    def add_task(self, task: Task) -> None:
        """Have a request answered in its turn, in waitress' place."""
        with self.lock:
            self.queue.append(task)
            self._wake()

    def _wake(self, count: int = 1) -> None:
        """Wake as many idle threads, and have those started that are then missing."""
        self.queue_cv.notify(count)
        if self._is_lacking and time.monotonic() >= self._again_at:
            self._lacks.notify()

    @property
    def _is_lacking(self) -> bool:
        idle = len(self.queue_cv) + len(self._coming)
        return idle < SPARE and len(self.threads) < self._maximum

    def _await_lack(self) -> bool:
        """Wait until a thread is to be started. Return False once there may be none at all."""
        while self._maximum:
            pause = self._again_at - time.monotonic()
            if pause > 0:
                self._lacks.wait(pause)
            elif self._is_lacking:
                return True
            else:
                self._lacks.wait()
        return False

    def _start_missing(self) -> None:
        """Start threads where too few are idle, until there may be none at all."""
        while True:
            with self.lock:
                if not self._await_lack():
                    return
                number = len(self.threads)  # it is free: none ends before all do
                self.threads.add(number)
                self._coming.add(number)
                self.active_count += 1
            thread = OwnedThread(f"worker {number}", partial(self._work, number), restarts=True)
            try:
                thread.start()
            except (RuntimeError, MemoryError) as error:
                self._note_unstarted(number, error)
            else:
                self.owned.append(thread)
                self._has_logged = False

    def _work(self, number: int) -> None:
        with self.lock:
            self._coming.discard(number)
            if self.queue:  # then it is not idle
                self._wake(0)
            elif not self.stop_count:  # it never counts as neither coming nor idle
                self.active_count -= 1
                self.queue_cv.wait()
                self.active_count += 1
        self.handler_thread(number)

    def _note_unstarted(self, number: int, error: Exception) -> None:
        """Go on with the threads that there are, and try again after a while."""
        if not self._has_logged:
            text = "the process may have no more threads, so requests wait for those it has"
            _log.error(text, threads=number, reason=str(error))
        self._has_logged = True
        with self.lock:
            self.threads.discard(number)
            self._coming.discard(number)
            self.active_count -= 1
            self._again_at = time.monotonic() + START_AGAIN
            if self.stop_count:  # it was to end with the others
                self.stop_count -= 1
                self.thread_exit_cv.notify()

    def rest(self, task: Task, took: float) -> None:
        """Pause after a request, by the seconds of the processor that it took; then let another one
        take its place, unless the connection's next request has it by then."""
        taken_at = self.queue.taken_at(task)
        if pause := self.queue.pause(task):
            time.sleep(min(pause * took, PAUSE_MAXIMUM))
        self.done(task, taken_at)

    def look(self) -> None:
        """Have reads taken that need wait no longer; to be called now and then."""
        with self.lock:
            self.queue.look()
            self._wake(len(self.queue))

    def done(self, task: Task, taken_at: float | None = None) -> None:
        """Note that a request is answered, or waits; another one may take its place. ``taken_at``
        says which of the connection's requests it was (None: the present one)."""
        if self.queue.taken_at(task) is None:
            return
        with self.lock:
            if taken_at in (None, self.queue.taken_at(task)):
                self.queue.release(task)
                if self.queue:
                    self._wake()
