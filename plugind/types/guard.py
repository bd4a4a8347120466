"""Calls the code of a plugin type: in one thread per type, timed, with every exception caught.

A type is other people's code. It may raise, return nonsense, or not return at all, and a call in
Python cannot be ended. So its calls are made by a thread of the guard's, one after the other, and
the thread that wants their results watches. Once a call hangs, the guard answers with what the
calls gave last, and the type is not called until that call returns or the server restarts. What
returns late is kept, so that the next reader has it.

To hang is not to starve. On a busy machine the guard's thread may wait long for a processor, and in
a busy server for the interpreter lock, through no fault of the type's. So a call is charged, at
each look at it, every ``TICK`` seconds:
1. the processor time that it used: an endless loop is charged all of it;
2. the time in which it did not run although it could have: when it did not wait in the kernel's
   run queue (``/proc/self/task/TID/schedstat``), and no other thread of the process ran, which may
   have had the interpreter lock. At most ``TICK`` of it at each look: a thread that looks late is
   starved itself.
A call hangs when it is charged with ``PATIENCE``, or with ``LONGEST`` of plain time outside the run
queue. Code that keeps the interpreter lock (in C) stops the whole process and cannot be guarded.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from plugind import handover, logs
from plugind.health.threads import OwnedThread
from plugind.model.times import time_text

PATIENCE = 0.05
"""Seconds of its own that a single call may take."""

LONGEST = 0.5
"""Seconds that a single call may take in a process that is busy with other work."""

LARGE = 256
"""Calls from which on a job leaves much of the interpreter to other threads."""

SLICE = 0.02
"""Seconds after which a job lets those that wait go first: a list of thousands of plugins takes
seconds, and one plugin a millisecond."""

TICK = 0.01
"""Seconds between two looks at a call."""

RETRY = 5.0
"""Seconds after which a call that failed is made again, if its result is still wanted."""

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")

_log = logs.get("types")


class Mark(NamedTuple):
    """When an answer lacked something, as the guard counts: calls that returned late, seconds."""

    returned: int
    at: float


@dataclass(frozen=True, slots=True)
class Answer(Generic[K, R]):
    """What calls gave. ``failed`` are those that gave nothing of their version: in ``values`` these
    have what they gave last, if anything. ``mark`` is for ``Guard.is_current``."""

    values: Mapping[K, R]
    failed: Collection[K]
    mark: Mark


@dataclass(eq=False, slots=True)
class _Job:
    """Calls to make; ``left`` are the keys and versions of those not made yet."""

    what: str
    left: Iterator[tuple[Any, Hashable]]
    make: Callable[[Any], Any]
    is_large: bool
    done: threading.Event = field(default_factory=threading.Event)
    abandoned: bool = False


class Guard:
    """Guards the code of the plugin type ``type_`` that ``package`` brings. Safe for threads.

    ``close`` ends its thread, but for a call that hangs.
    """

    def __init__(self, type_: str, package: str) -> None:
        self._type = type_
        self._package = package
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._jobs: deque[_Job] = deque()
        self._closed = False
        self._good: dict[tuple[str, Any], tuple[Hashable, Any]] = {}
        self._failing: dict[tuple[str, Any], str] = {}
        self._kinds: set[str] = set()
        self._logged: set[tuple[str, str]] = set()
        self._is_calling = False
        self._bounds = 0  # beginnings and ends of calls
        self._hung_since = 0  # nanoseconds since the epoch; 0 while no call hangs
        self._returned = 0  # calls that hung and returned
        self.thread = OwnedThread(f"type {type_}", self._run, restarts=True)
        self.thread.start()

    @property
    def trouble(self) -> str:
        """Return in one line how the type's code fails; "" when it does not."""
        with self._lock:
            since, kinds = self._hung_since, sorted(set(self._failing.values()))
            count = len({key for _, key in self._failing})
        words = []
        if since:
            words.append(f"hangs since {time_text(since)} and is not called meanwhile")
        if count:
            plugins = f"{count:,} plugin{'s' * (count > 1)}"
            words.append(f"fails for {plugins} ({', '.join(kinds)}, see the log)")
        return f"the type {self._type} of {self._package} {' and '.join(words)}" if words else ""

    def call(
        self, what: str, wanted: Mapping[K, Hashable], make: Callable[[K], R], *, keeps: bool = True
    ) -> Answer[K, R]:
        """Call ``make`` with each key, unless its result is there, and return what they gave.

        ``wanted`` has, by key, the version of what the call is made from: the same version gives
        the same result. ``what`` names the kind of call, for the log too. Results are kept, for
        the next call and as the last good ones, until ``forget``; without ``keeps`` only those that
        come too late, until the next call.
        """
        with self._lock:
            self._kinds.add(what)
            missing = {key: each for key, each in wanted.items() if self._lacks(what, key, each)}
            job = _Job(what, iter(missing.items()), make, len(missing) > LARGE)
            if missing and not self._hung_since and not self._closed:
                self._jobs.append(job)
                self._wake.notify()
            else:
                job.done.set()
        if missing:
            self._watch(job)
        with self._lock:
            job.abandoned = True  # nothing more of it is wanted, if it has not been made by now
            known = self._good
            values = {key: known[what, key][1] for key in wanted if (what, key) in known}
            failed = [key for key, each in missing.items() if self._lacks(what, key, each)]
            if not keeps:
                for key in wanted:
                    known.pop((what, key), None)
            return Answer(values, failed, Mark(self._returned, time.monotonic()))

    def last(self, what: str, key: Hashable) -> Any:
        """Return what a call gave last, of whatever version; None where nothing is kept."""
        return self._good.get((what, key), (None, None))[1]

    def is_current(self, mark: Mark) -> bool:
        """Return whether calls that failed would fail again, as far as is known, so that what was
        made without them need not be made again yet."""
        if mark.returned != self._returned:
            return False
        return bool(self._hung_since) or time.monotonic() < mark.at + RETRY

    def forget(self, key: Hashable) -> None:
        """Forget what a key refers to: there is no such plugin any more."""
        with self._lock:
            for what in self._kinds:
                self._good.pop((what, key), None)
                self._failing.pop((what, key), None)

    def close(self) -> None:
        """End the thread, unless a call hangs: then it ends with the process."""
        with self._lock:
            self._closed = True
            self._wake.notify()
        self.thread.join(PATIENCE)

    def _lacks(self, what: str, key: Hashable, version: Hashable) -> bool:
        known = self._good.get((what, key))
        return known is None or (known[0] is not version and known[0] != version)

    def _watch(self, job: _Job) -> None:
        """Wait until a job is done, or a call hangs."""
        bounds, charge = self._bounds, None
        while not job.done.wait(TICK):
            if self._hung_since:
                return
            if charge is None or self._bounds != bounds:
                bounds, charge = self._bounds, _Charge(self.thread.native_id)
            elif charge.is_exceeded() and self._is_calling:
                self._note_hang(job.what, bounds)

    def _note_hang(self, what: str, bounds: int) -> None:
        with self._lock:
            if self._bounds != bounds or self._hung_since:
                return
            self._hung_since = time.time_ns()
            for job in self._jobs:
                job.abandoned = True
        # Not by ``traceback``, which reads files: after each system call this thread would wait for
        # the interpreter, which the call holds as long as it may.
        stack: list[str] = []
        frame = sys._current_frames().get(self.thread.ident or 0)
        while frame is not None:
            code = frame.f_code
            stack.insert(0, f"{code.co_filename}:{frame.f_lineno} in {code.co_name}")
            frame = frame.f_back
        self._log(what, "hangs", "a call into a plugin type hangs", stack="\n".join(stack))

    def _run(self) -> None:
        self._ended()  # the call that this thread died in, if any
        while (job := self._next()) is not None:
            is_done = True
            try:
                with handover.large(is_modest=False) if job.is_large else nullcontext():
                    is_done = self._work(job)
            finally:
                if is_done:
                    job.done.set()

    def _work(self, job: _Job) -> bool:
        """Make the calls of a job. Return False where others wait after a SLICE of time: the rest
        of this one comes after them."""
        until = time.monotonic() + SLICE
        for key, version in job.left:
            with self._lock:
                if job.abandoned:
                    break
                is_made = not self._lacks(job.what, key, version)
            if not is_made:
                self._make(job, key, version)
            handover.step()
            if time.monotonic() > until:
                with self._lock:
                    if self._jobs:
                        self._jobs.append(job)
                        return False
        return True

    def _next(self) -> _Job | None:
        with self._lock:
            self._wake.wait_for(lambda: self._jobs or self._closed)
            return self._jobs.popleft() if self._jobs else None

    def _make(self, job: _Job, key: Hashable, version: Hashable) -> None:
        what = job.what
        with self._lock:
            self._is_calling = True
            self._bounds += 1
        try:
            value = job.make(key)
        except BaseException as error:  # SystemExit too: it is meant for nobody here
            kind = type(error).__name__
            with self._lock:
                self._failing[what, key] = kind
            text = "a call into a plugin type failed"
            self._log(what, kind, text, plugin=key, exception=_formatted(error))
        else:
            with self._lock:
                self._good[what, key] = version, value
                if self._failing:
                    self._failing.pop((what, key), None)
        self._ended()

    def _ended(self) -> None:
        """Note that a call returned, or raised."""
        with self._lock:
            self._is_calling = False
            self._bounds += 1
            since, self._hung_since = self._hung_since, 0
            self._returned += bool(since)
        if since:
            seconds = round((time.time_ns() - since) / 1e9, 1)
            _log.warning("a call that hung returned", type=self._type, seconds=seconds)

    def _log(self, what: str, kind: str, text: str, **details: object) -> None:
        """Log a failure, the first of its kind."""
        with self._lock:
            is_known = (what, kind) in self._logged
            self._logged.add((what, kind))
        if not is_known:
            _log.error(text, type=self._type, package=self._package, call=what, **details)


def _formatted(error: BaseException) -> str:
    """Return the traceback of an exception of other people's, whose text may raise itself."""
    try:
        return "".join(traceback.format_exception(error)).rstrip()
    except BaseException as another:
        return f"{type(error).__name__}, whose text raises {type(another).__name__}"


class _Charge:
    """What a call is charged with, since this was made; ``native_id`` is its thread's.

    A call that computes holds the interpreter, which a look at a file gives away with each system
    call. So files are read only where the thread did something else for most of the time.
    """

    def __init__(self, native_id: int | None) -> None:
        self._folder = Path(f"/proc/self/task/{native_id}")
        # The kernel's clock of a thread by its ID, as pthread_getcpuclockid(3) makes it; that may
        # not be called for a thread that has ended.
        self._clock = ~(native_id or 0) << 3 | 6
        self._charged = 0.0
        self._took = 0.0
        self._before = self._clocks()
        self._queued: float | None = None

    def is_exceeded(self) -> bool:
        """Charge for the time since the last look; return whether that is too much by now."""
        now = self._clocks()
        wall, ran, process = (a - b for a, b in zip(now, self._before, strict=True))
        self._before = now
        elsewhere = self._elsewhere(wall - ran) if ran < wall / 2 else 0.0
        others = max(0.0, process - ran)
        self._charged += ran + min(max(0.0, elsewhere - others), TICK)
        self._took += ran + elsewhere
        return self._charged >= PATIENCE or self._took >= LONGEST

    def _clocks(self) -> tuple[float, float, float]:
        """Return, in seconds: the time, how long the thread ran, how long all threads ran."""
        try:
            ran = time.clock_gettime(self._clock)
        except OSError:  # the thread has ended
            ran = 0.0
        return time.monotonic(), ran, time.process_time()

    def _elsewhere(self, seconds: float) -> float:
        """Return for how many of the ``seconds`` in which it did not run the thread did not wait
        for a processor either."""
        # How long a thread was in the run queue is known once it has left it (proc(5), stat).
        if _read(self._folder / "stat").rpartition(")")[2].split()[:1] == ["R"]:
            return 0.0
        found = _read(self._folder / "schedstat").split()[1:2]  # where the kernel has it
        before, self._queued = self._queued, int(found[0]) / 1e9 if found else 0.0
        return 0.0 if before is None else max(0.0, seconds - (self._queued - before))


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
