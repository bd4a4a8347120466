"""Calls the code of a plugin type: in one thread per type, timed, with every exception caught.

A type is third-party code. It may raise, return nonsense, or not return at all, and a call in
Python cannot be ended. So a thread of the guard makes the calls, one after another, while the
thread that wants the results watches. Once a call hangs, the guard answers with the last results
that it has, and the type is not called until that call returns or the server restarts. A result
that comes late is kept for the next reader.

A thread that gets no processor time does not hang. On a busy machine the guard's thread may wait
long for a processor, and in a busy server for the interpreter lock, through no fault of the type.
So the watching thread checks a call every ``TICK`` seconds, and each check charges the call with:
1. the processor time that it used: an endless loop is charged with all of its time;
2. the time in which it did not run although it could have. It could have run when it was not
   waiting in the kernel's run queue (``/proc/self/task/TID/schedstat``), and no other thread of the
   process ran, which might have held the interpreter lock. At each check this is at most ``TICK``,
   because a thread that checks late is short of processor time itself.
A call hangs when it has been charged with ``PATIENCE`` seconds, or has taken ``LONGEST`` seconds of
elapsed time outside the run queue. Code that keeps the interpreter lock (in C) stops the whole
process, and nothing can guard against it.
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
"""Seconds that a single call may be charged with."""

LONGEST = 0.5
"""Seconds that a single call may take in a process that is busy with other work."""

LARGE = 256
"""A job of more calls than this leaves much of the interpreter's time to other threads."""

SLICE = 0.02
"""Seconds after which a job lets waiting jobs go first: a list of thousands of plugins takes
seconds, but one plugin takes a millisecond."""

TICK = 0.01
"""Seconds between two checks of a call."""

RETRY = 5.0
"""Seconds after which a call that failed is made again, if its result is still wanted."""

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")

_log = logs.get("types")


class Mark(NamedTuple):
    """When an answer was made: how many hung calls had returned by then, and the monotonic time
    in seconds."""

    returned: int
    at: float


@dataclass(frozen=True, slots=True)
class Answer(Generic[K, R]):
    """The results of calls. ``failed`` are the keys without a result for the wanted version: for
    these, ``values`` has the last result, if any. ``mark`` is for ``Guard.is_current``."""

    values: Mapping[K, R]
    failed: Collection[K]
    mark: Mark


@dataclass(eq=False, slots=True)
class _Job:
    """Calls to make; ``left`` are the keys and versions of the calls not made yet."""

    what: str
    left: Iterator[tuple[Any, Hashable]]
    make: Callable[[Any], Any]
    is_large: bool
    done: threading.Event = field(default_factory=threading.Event)
    abandoned: bool = False


class Guard:
    """Guards the code of the plugin type ``type_`` that ``package`` provides. Thread-safe.

    ``close`` ends its thread, unless a call hangs.
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
        self._bounds = 0  # the number of beginnings and ends of calls
        self._hung_since = 0  # nanoseconds since the epoch; 0 while no call hangs
        self._returned = 0  # the number of calls that hung and then returned
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
        """Call ``make`` with each key whose result is not known yet, and return all results.

        ``wanted`` has, by key, the version of the data that the call uses: the same version gives
        the same result. ``what`` names the kind of call, also in the log. Results are kept until
        ``forget``, for the next call and as the last good ones. Without ``keeps``, only results
        that come too late are kept, and only until the next call.
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
            job.abandoned = True  # calls that have not been made by now are not wanted any more
            known = self._good
            values = {key: known[what, key][1] for key in wanted if (what, key) in known}
            failed = [key for key, each in missing.items() if self._lacks(what, key, each)]
            if not keeps:
                for key in wanted:
                    known.pop((what, key), None)
            return Answer(values, failed, Mark(self._returned, time.monotonic()))

    def last(self, what: str, key: Hashable) -> Any:
        """Return the last result of a call, whatever its version; None if none is kept."""
        return self._good.get((what, key), (None, None))[1]

    def is_current(self, mark: Mark) -> bool:
        """Return whether calls that failed would probably fail again, so that anything made without
        their results need not be made again yet."""
        if mark.returned != self._returned:
            return False
        return bool(self._hung_since) or time.monotonic() < mark.at + RETRY

    def forget(self, key: Hashable) -> None:
        """Forget all results for a key, because its plugin no longer exists."""
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
        # ``traceback`` is not used because it reads files: after each system call, this thread
        # would wait for the interpreter lock, which the hung call keeps as long as it may.
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
        """Make the calls of a job. Return False if other jobs wait after SLICE seconds: the rest of
        this job comes after them."""
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
        except BaseException as error:  # SystemExit too: a type must not end this thread
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
        """Log a failure if it is the first of its kind."""
        with self._lock:
            is_known = (what, kind) in self._logged
            self._logged.add((what, kind))
        if not is_known:
            _log.error(text, type=self._type, package=self._package, call=what, **details)


def _formatted(error: BaseException) -> str:
    """Return the traceback of a third-party exception; making its text may itself raise."""
    try:
        return "".join(traceback.format_exception(error)).rstrip()
    except BaseException as another:
        return f"{type(error).__name__}, whose text raises {type(another).__name__}"


class _Charge:
    """The charge for a call since this object was made; ``native_id`` is that of its thread.

    With each system call, a thread that reads a file gives up the interpreter lock, which a call
    that computes then holds. So files are read only if the call did not run for most of the time.
    """

    def __init__(self, native_id: int | None) -> None:
        self._folder = Path(f"/proc/self/task/{native_id}")
        # The ID of a thread's CPU clock, as pthread_getcpuclockid(3) makes it from the thread's ID;
        # that function must not be called for a thread that has ended.
        self._clock = ~(native_id or 0) << 3 | 6
        self._charged = 0.0
        self._took = 0.0
        self._before = self._clocks()
        self._queued: float | None = None

    def is_exceeded(self) -> bool:
        """Charge for the time since the last check; return whether the total is too much by now."""
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
        """Return for how many of ``seconds``, in which the thread did not run, it did not wait for
        a processor either."""
        # The time in the run queue is known once the thread has left the queue (proc(5), stat).
        if _read(self._folder / "stat").rpartition(")")[2].split()[:1] == ["R"]:
            return 0.0
        found = _read(self._folder / "schedstat").split()[1:2]  # if the kernel has it
        before, self._queued = self._queued, int(found[0]) / 1e9 if found else 0.0
        return 0.0 if before is None else max(0.0, seconds - (self._queued - before))


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
