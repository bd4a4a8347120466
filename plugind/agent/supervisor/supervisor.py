"""Keeps a prober's process running, from the agent's side, and holds the state that it reports.

A process that dies, hangs or takes too much memory is started again, after growing delays.
Meanwhile all its instances are unhealthy, with that reason.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from plugind import logs
from plugind.agent.backoff import Backoff
from plugind.agent.bounds import SIZE_MAXIMUM, TARGETS_MAXIMUM
from plugind.agent.protocol import (
    LINE_MAXIMUM,
    Alive,
    BadLine,
    Failed,
    Found,
    Idle,
    Key,
    Message,
    Targets,
    Trouble,
    decode,
    encode,
)
from plugind.agent.state import TypeState
from plugind.health.threads import OwnedThread
from plugind.model.probes import NO_PROBES, Probes
from plugind.plugin_type import MEBIBYTE

PATIENCE = 5.0
"""Seconds without a message after which a process counts as hung; it sends one every second."""

START_MAXIMUM = 30.0
"""Seconds until the first message: a busy machine takes its time to start a process."""

LOOK_INTERVAL = 0.25
"""Seconds between two looks at a process: whether it sent a message, how much memory it has."""

REST = 3.0
"""The pause after reading a process's messages, as a multiple of the time that took: a process that
sends without end has to wait, and takes no more than a quarter of the agent's time."""

REST_MAXIMUM = 0.25
"""The longest such pause, in seconds."""

GRACE = 2.0
"""Seconds that a process has to end by itself."""

TROUBLE_MAXIMUM = 1_000
"""Characters of the text of a type's trouble."""

BACKOFF = Backoff(0.5, 30.0)
BAD_LINES_LOGGED = 5

_NOTHING = TypeState()

_log = logs.get("agent")


class Supervisor:
    """Runs ``command`` for the plugin type ``type`` whose settings block is ``block``.

    ``changed`` is called, from a thread of the supervisor's, after each change of ``state``. Where
    the block has a ``memory_limit`` (bytes), the process is ended when it grows beyond.
    ``patience``, the time without a message after which a process counts as hung, and ``grace`` are
    in seconds. ``state_dir`` is the folder in which the prober may keep state; it is made when
    needed.

    After a reload ``state`` is that of the previous supervisor, and ``before`` its block: that
    state is shown until the new process has found its targets, within START_MAXIMUM seconds.
    """

    def __init__(
        self,
        type: str,
        command: Sequence[str],
        block: Mapping[str, Any],
        changed: Callable[[], None],
        *,
        state: TypeState = _NOTHING,
        before: Mapping[str, Any] | None = None,
        state_dir: Path | None = None,
        patience: float = PATIENCE,
        grace: float = GRACE,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self.type = type
        self._command = command
        self.block = block
        self._before = before
        self._state_dir = state_dir
        self._changed = changed
        self._patience = patience
        self._grace = grace
        self._backoff = backoff
        self._state = state
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._idle = False
        self._bad_lines = 0
        self._sizes: dict[str, int] = {}
        self._death = ""
        self._started = 0.0
        self._problem = ""
        self._reported_trouble = ""
        self._memory_limit = int(block.get("memory_limit") or 0)
        self._weigh_at = 0.0
        self._probes = NO_PROBES, NO_PROBES  # those of earlier processes, and of this one
        self._child: subprocess.Popen[bytes] | None = None
        self.thread = OwnedThread(f"supervise {type}", self._run, restarts=True)

    @property
    def state(self) -> TypeState:
        """Return the current state of the type's instances."""
        return self._state

    @property
    def trouble(self) -> str:
        """Return why the type cannot be reported in full, in one line; "" when it can.

        A prober that died counts as troubled until it has run steadily again.
        """
        steady = time.monotonic() - self._started > self._backoff.longest
        death = "" if steady else self._death
        words = (death, self._reported_trouble, self._problem, self._state.hidden)
        return "; ".join(filter(None, words))[:TROUBLE_MAXIMUM]

    @property
    def probes(self) -> Probes:
        """Return the probes since the start, over all processes."""
        earlier, own = self._probes
        return earlier.plus(own)

    @property
    def pid(self) -> int | None:
        """Return the ID of the process that runs now, or ran last; None before the first."""
        return self._child.pid if self._child else None

    @property
    def settled(self) -> Mapping[str, Any]:
        """Return the block that the shown state comes from: until the targets of ``block`` are
        found, the one before it."""
        before = self._before
        return self.block if before is None else before

    def acknowledged(self, left: Iterable[Key]) -> None:
        """Note that a server knows that those instances left on purpose."""
        with self._lock:  # calls no ``changed``: a server knows it already
            self._state = self._state.acknowledged(left)

    def start(self) -> None:
        self.thread.start()

    def release(self) -> None:
        """Ask the process to end, without waiting for it."""
        with self._lock:
            self._stopping.set()
            if self._child:
                _close(self._child.stdin)

    def stop(self) -> None:
        """End the process, by force after ``grace``, and wait until it is gone."""
        self.release()
        if self._child:
            _end(self._child, self._grace)
        self.thread.join(GRACE)

    def _run(self) -> None:
        if self._child is not None:  # this thread died and is restarted
            _end(self._child, 0.0)
            _close(self._child.stdout)
            self._report_death(f"the supervisor of {self.type} died and is being restarted")
        failures = 0
        while not self._stopping.is_set():
            self._started = time.monotonic()
            end = self._live()
            if self._stopping.is_set() or self._idle:
                return
            steady = time.monotonic() - self._started > self._backoff.longest
            self._started = time.monotonic()
            failures = 1 if steady else failures + 1
            self._report_death(f"the prober of {self.type} {end} and is being restarted")
            self._stopping.wait(self._backoff.delay(failures))

    def _report_death(self, reason: str) -> None:
        """Log why nothing is probed now, and have all instances unhealthy for that reason."""
        _log.warning(reason)
        self._death = reason
        self._become(partial(TypeState.after_death, reason=reason, time=time.time_ns()))

    def _live(self) -> str:
        """Run the process once, from start to reaping; return how it ended."""
        self._bad_lines = 0
        self._sizes = {}
        self._problem = self._reported_trouble = ""
        try:
            child = self._spawn()
        except OSError as error:
            return f"could not be started ({error.strerror})"
        if child is None:
            return "was not wanted any more"
        problem = self._listen(child)
        status = _end(child, 0.0 if problem else self._grace)
        _close(child.stdout)
        if problem:
            return problem
        return f"ended (signal {-status})" if status < 0 else f"ended (status {status})"

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        """Start the process. It is killed when the thread that calls this ends (prctl(2),
        PR_SET_PDEATHSIG); that is the supervisor's own, which first waits for its process."""
        with self._lock:
            if self._stopping.is_set():
                return None
            self._probes = self.probes, NO_PROBES
            pipe = subprocess.PIPE
            self._child = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, bufsize=0)
            return self._child

    def _listen(self, child: subprocess.Popen[bytes]) -> str:
        """Read messages to the end of output; return why the process must be ended before that, or
        "".

        The time without a message is counted in looks that found nothing, not by the clock: an
        agent that was stopped itself (SIGSTOP), alone or together with its children, cannot know
        for how long it received nothing.
        """
        assert child.stdin is not None
        assert child.stdout is not None
        with suppress(OSError, ValueError):  # dead already, or closed by stop(): EOF follows
            shown = [encode(found).decode() for found in self._state.healthy()]
            orders = {
                "settings": self.block,
                "before": self._before,
                "shown": shown,
                "state_dir": self._made_state_dir(),
                "agent": os.getpid(),
            }
            child.stdin.write(json.dumps(orders).encode() + b"\n")
        splitter = Splitter()
        late_at = time.monotonic() + START_MAXIMUM
        left = START_MAXIMUM
        for data in _read(child.stdout.fileno()):
            if data == b"":
                return ""
            if data is None:
                left -= LOOK_INTERVAL
            else:
                left = self._patience
                since = time.monotonic()
                for line in splitter.split(data):
                    self._hear(line)
                self._stopping.wait(min(REST * (time.monotonic() - since), REST_MAXIMUM))
            if left <= 0:
                return "gave no sign of life"
            if self._before is not None and time.monotonic() > late_at:
                return "has not found its targets"
            if self._has_grown(child.pid):
                return f"grew past its memory limit of {self._memory_limit / MEBIBYTE:.4g} MiB"
        raise AssertionError("a pipe has an end")

    def _made_state_dir(self) -> str | None:
        """Return the path of the prober's folder, which is there now; None if it cannot be."""
        if self._state_dir is None:
            return None
        try:
            self._state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._state_dir.chmod(0o700)
        except OSError as error:
            folder, reason = str(self._state_dir), error.strerror
            _log.warning("a prober cannot keep state", type=self.type, folder=folder, reason=reason)
            return None
        return str(self._state_dir.absolute())

    def _has_grown(self, pid: int) -> bool:
        """Return whether the process has more memory than it may; look once per LOOK_INTERVAL."""
        if not self._memory_limit or time.monotonic() < self._weigh_at:
            return False
        self._weigh_at = time.monotonic() + LOOK_INTERVAL
        return resident(pid) > self._memory_limit

    def _hear(self, line: bytes) -> None:
        try:
            message = decode(line)
            self._weigh(message, len(line))
        except BadLine as error:
            self._bad_lines += 1
            self._problem = f"its prober sent an invalid message: {error}"
            if self._bad_lines <= BAD_LINES_LOGGED:
                _log.warning("invalid message of a prober", type=self.type, flaw=str(error))
            return
        if isinstance(message, Alive):
            self._probes = self._probes[0], message.probes
        if isinstance(message, Trouble):
            self._reported_trouble = message.text
        self._idle = self._idle or message == Idle()
        if isinstance(message, Targets | Idle):
            self._before = None
        self._become(lambda state: state.after(message))

    def _weigh(self, message: Message, size: int) -> None:
        """Raise BadLine for more than the agent holds of a type.

        The type's own prober keeps within that with room to spare.
        """
        if isinstance(message, Targets):
            if len(message.names) > TARGETS_MAXIMUM:
                raise BadLine(f"there are more than {TARGETS_MAXIMUM:,} targets")
            kept = self._sizes.keys() & message.names
            self._sizes = {name: self._sizes[name] for name in kept}
        if isinstance(message, Found | Failed):
            sizes = {**self._sizes, message.target: size}
            if len(sizes) > TARGETS_MAXIMUM or sum(sizes.values()) > 2 * SIZE_MAXIMUM:
                raise BadLine("it reports more than fits")
            self._sizes = sizes

    def _become(self, next: Callable[[TypeState], TypeState]) -> None:
        with self._lock:
            before, self._state = self._state, next(self._state)
            changed = self._state != before
        if not changed:
            return
        nameless = self._state.nameless
        for name in sorted(nameless.keys() - before.nameless.keys()):  # once while it fails
            _log.warning(
                "a target fails, and no ID of a plugin is known for it",
                type=self.type,
                target=name,
                reason=nameless[name],
            )
        self._changed()


class Splitter:
    """Cuts a stream of bytes into lines. Of a line that is too long just enough is kept to show
    that it is."""

    def __init__(self) -> None:
        self._rest = b""

    def split(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that end in ``data``, without their newlines."""
        *whole, rest = (self._rest + data).split(b"\n")
        self._rest = rest[: LINE_MAXIMUM + 1]
        yield from whole


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has in use; 0 when it is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _read(output: int) -> Iterator[bytes | None]:
    """Yield what comes out of a pipe, b"" at its end; None for each look that found nothing."""
    poll = select.poll()
    poll.register(output, select.POLLIN)
    while True:
        yield os.read(output, 1 << 16) if poll.poll(LOOK_INTERVAL * 1000) else None


def _end(child: subprocess.Popen[bytes], grace: float) -> int:
    """End and reap the process: by the end of its input, else by force; return its status."""
    _close(child.stdin)
    try:
        return child.wait(grace)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _close(pipe: IO[bytes] | None) -> None:
    if pipe:
        pipe.close()
