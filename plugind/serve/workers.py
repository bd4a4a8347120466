"""The threads that answer requests, and the order in which they take them.

There are far more threads than may run at once, because parked requests keep theirs. So the queue,
not the number of threads, limits how many threads of one client compete for the interpreter.
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
"""Pipelined requests that are answered at a time, not counting parked ones."""

READS_MAXIMUM = 1
"""Reads of one address that are in progress at a time, not counting those that wait."""

READ_LONG = 0.02
"""Seconds after which a read in progress no longer keeps others of its address waiting: most likely
it waits itself, for the rendering of a list of very many plugins."""

PIPELINED_PAUSE = 3
REFUSED_PAUSE = 10
READ_PAUSE = 1
"""After a pipelined request, a refused one, or a read, the next one waits this many times the
processor time that it took."""

PAUSE_MAXIMUM = 0.1  # seconds

SPARE = 4
"""Threads to keep idle, so that the next requests find one."""

START_AGAIN = 1.0
"""Seconds until the next attempt to start threads when the process may have no more."""

_log = logs.get("threads")


class Task(Protocol):
    """A connection with a request from ``client``.

    ``is_pipelined``: the request was sent before the previous one was answered. ``is_read``: it
    counts towards READS_MAXIMUM. ``is_refused``: it was refused, or, until it is answered, the
    previous one was.
    """

    is_pipelined: bool
    is_read: bool
    is_refused: bool

    @property
    def client(self) -> str: ...


Turn = tuple[str, bool]
"""Client, and whether its requests are reads: a client's reads and its other requests take turns
separately."""


class FairTasks:
    """A queue that serves addresses in turn, so that many requests of one address wait for each
    other and do not delay those of others.

    READS_MAXIMUM reads of each address are in progress at a time. While others ask, too, a pause
    follows each read: so the interpreter, which only one thread has at a time, is idle when another
    thread needs it for a moment. Pipelined requests come last, PIPELINED_MAXIMUM at a time: only an
    attack sends many of them.

    The queue has the methods of a deque that waitress uses, and is used under the threads' lock.
    """

    def __init__(self) -> None:
        self._ready: dict[Turn, deque[Task]] = {}  # in the order of their turns
        self._held: dict[Turn, deque[Task]] = {}  # until a read of the same address is done
        self._pipelined: deque[Task] = deque()
        # By address: when each read was taken (monotonic clock).
        self._readers: dict[str, dict[Task, float]] = {}
        self._reading: dict[Task, str] = {}
        self.askers = Askers()
        self.answering: dict[Task, float] = {}  # pipelined requests, and when each was taken

    def __len__(self) -> int:
        """Return how many requests may be taken now, counting at most one of each turn."""
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
            self._end_read(task)  # the connection's previous read, whose pause is not over yet
            self._readers.setdefault(client, {})[task] = time.monotonic()
            self._reading[task] = client
        if tasks:
            self._of(turn)[turn] = tasks
        return task

    def _of(self, turn: Turn) -> dict[Turn, deque[Task]]:
        """Return the dictionary in which the requests of a turn are, or belong."""
        client, is_read = turn
        return self._held if is_read and self._is_full(client) else self._ready

    def _is_full(self, client: str) -> bool:
        """Return whether READS_MAXIMUM reads of an address are in progress, not counting long
        ones."""
        long_ago = time.monotonic() - READ_LONG
        began = self._readers.get(client, {}).values()
        return sum(each > long_ago for each in began) >= READS_MAXIMUM

    def _free(self, turn: Turn) -> None:
        """Let held reads be taken if there is a place."""
        if turn in self._held and not self._is_full(turn[0]):
            self._ready[turn] = self._held.pop(turn)

    @property
    def has_reads(self) -> bool:
        """Return whether requests are in progress or wait, so that ``look`` must be called soon."""
        return bool(self._readers or self._ready or self._held)

    @property
    def is_holding(self) -> bool:
        """Return whether reads wait for others of their address."""
        return bool(self._held)

    def look(self) -> None:
        """Let reads be taken whose address has only long reads in progress by now."""
        for turn in list(self._held):
            self._free(turn)

    def taken_at(self, task: Task) -> float | None:
        """Return when a connection's request was taken (monotonic clock), or None if it does not
        count as in progress, that is, if no others wait for it."""
        if (client := self._reading.get(task)) is not None:
            return self._readers.get(client, {}).get(task)
        return self.answering.get(task)

    def pause(self, task: Task) -> int:
        """Return how many times the processor time of a request the next ones have to wait."""
        if task in self.answering:
            return PIPELINED_PAUSE
        if not self.askers.are_several:
            return 0
        if task.is_refused:
            return REFUSED_PAUSE
        return READ_PAUSE if (self._reading.get(task), True) in self._held else 0

    def release(self, task: Task) -> None:
        """Let other requests be taken, now that this one is no longer in progress."""
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
    """A condition that wakes the thread that began to wait last, because its data is still in the
    processor's caches. So of hundreds of threads, only as many run as are needed at a time.

    It has the methods of ``threading.Condition`` that waitress uses; ``lock`` must be held by the
    caller.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._idle: list[threading.Lock] = []

    def __len__(self) -> int:
        """Return how many threads wait and have not been woken yet."""
        return len(self._idle)

    def wait(self) -> None:
        """Wait for ``notify``."""
        turn = threading.Lock()
        turn.acquire()
        self._idle.append(turn)
        self._lock.release()
        try:
            turn.acquire()
        except BaseException:  # the thread ends: another one has to be woken instead
            with self._lock:
                if turn in self._idle:
                    self._idle.remove(turn)
                else:
                    self.notify()
            raise
        finally:
            self._lock.acquire()

    def notify(self, count: int = 1) -> None:
        """Wake ``count`` threads, or all that wait if there are fewer."""
        for _ in range(min(count, len(self._idle))):
            self._idle.pop().release()

    def notify_all(self) -> None:
        """Wake all threads."""
        self.notify(len(self._idle))


class Workers(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Waitress' threads with a fair queue. Threads are started as needed to keep ``SPARE`` of them
    idle, up to the number of ``set_thread_count``.

    A separate thread, ``starter``, starts them: starting a thread means waiting until it runs, and
    the loop has no time for that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairTasks()
        self.queue_cv = LastIdleFirst(self.lock)
        self.owned: list[OwnedThread] = []
        self._maximum = 0
        self._coming: set[int] = set()  # numbers of threads that were started and do not run yet
        self._lacks = threading.Condition(self.lock)
        self._again_at = 0.0  # when threads may be started again (monotonic clock)
        self._has_logged = False
        self.starter = OwnedThread("workers", self._start_missing, restarts=True)

    def set_thread_count(self, count: int) -> None:
        """Set how many threads there may be, before ``starter`` is started. Later, only 0 is
        allowed: then all threads end, each after its request. Raise ValueError for any other
        change."""
        with self.lock:
            if count and self.starter.ident is not None:
                raise ValueError("threads that were started can only be ended, all of them")
            self._maximum = count
            if not count:
                self.stop_count = len(self.threads)
                self._lacks.notify()
                self.queue_cv.notify_all()

    def add_task(self, task: Task) -> None:
        """Have a request answered in its turn; replaces waitress' method."""
        with self.lock:
            self.queue.append(task)
            self._wake()

    def _wake(self, count: int = 1) -> None:
        """Wake ``count`` idle threads, and have threads started if too few are idle then."""
        self.queue_cv.notify(count)
        if self._is_lacking and time.monotonic() >= self._again_at:
            self._lacks.notify()

    @property
    def _is_lacking(self) -> bool:
        idle = len(self.queue_cv) + len(self._coming)
        return idle < SPARE and len(self.threads) < self._maximum

    def _await_lack(self) -> bool:
        """Wait until a thread has to be started. Return False once no threads are allowed."""
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
        """Start threads whenever too few are idle, until no threads are allowed."""
        while True:
            with self.lock:
                if not self._await_lack():
                    return
                number = len(self.threads)  # this number is free: no thread ends before all do
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
            if self.queue:  # then the thread is not idle
                self._wake(0)
            elif not self.stop_count:  # so that the thread always counts as coming or idle
                self.active_count -= 1
                self.queue_cv.wait()
                self.active_count += 1
        self.handler_thread(number)

    def _note_unstarted(self, number: int, error: Exception) -> None:
        """Note that a thread could not be started, and have that tried again later."""
        if not self._has_logged:
            text = "the process may have no more threads, so requests wait for those it has"
            _log.error(text, threads=number, reason=str(error))
        self._has_logged = True
        with self.lock:
            self.threads.discard(number)
            self._coming.discard(number)
            self.active_count -= 1
            self._again_at = time.monotonic() + START_AGAIN
            if self.stop_count:  # the thread was counted among those that have to end
                self.stop_count -= 1
                self.thread_exit_cv.notify()

    def rest(self, task: Task, took: float) -> None:
        """Pause after a request, in proportion to ``took``, its seconds of processor time; then let
        another request take its place, unless the connection's next request has it by then."""
        taken_at = self.queue.taken_at(task)
        if pause := self.queue.pause(task):
            time.sleep(min(pause * took, PAUSE_MAXIMUM))
        self.done(task, taken_at)

    def look(self) -> None:
        """Have reads taken that need not wait any longer; must be called now and then."""
        with self.lock:
            self.queue.look()
            self._wake(len(self.queue))

    def done(self, task: Task, taken_at: float | None = None) -> None:
        """Note that a request is answered, or waits, so that another one may take its place.
        ``taken_at`` says which of the connection's requests it was (None: the current one)."""
        if self.queue.taken_at(task) is None:
            return
        with self.lock:
            if taken_at in (None, self.queue.taken_at(task)):
                self.queue.release(task)
                if self.queue:
                    self._wake()
