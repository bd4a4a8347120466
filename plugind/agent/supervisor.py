"""Keeps a prober's process running, from the agent's side, and holds what it tells.

A process that dies, falls silent or takes too much memory is started anew, later and later;
meanwhile all that it gave is unhealthy and says so.
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
from pathlib import Path
from typing import IO, Any

from plugind import logs
from plugind.agent.backoff import Backoff
from plugind.agent.bounds import SIZE_MAXIMUM, TARGETS_MAXIMUM
from plugind.agent.lines import (
    LINE_MAXIMUM,
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
from plugind.plugin_type import MEBIBYTE

SILENCE_MAXIMUM = 5.0
"""Seconds without a line after which a process counts as hung; it should send one every second."""

START_MAXIMUM = 30.0
"""Seconds until the first line: a busy machine takes its time to start a process."""

LOOK_INTERVAL = 0.25
"""Seconds between two looks at a process: whether it said something, how much memory it has."""

REST = 3.0
"""How many times as long as it took to read a process's lines pass before more are read: one that
tells without end waits itself, and takes no more than a quarter of the agent's time."""

REST_MAXIMUM = 0.25
"""Seconds of that at a time."""

GRACE = 2.0
"""Seconds that a process is given to end by itself."""

TROUBLE_MAXIMUM = 1_000
"""Characters of what is told of a type's trouble."""

BACKOFF = Backoff(0.5, 30.0)
BAD_LINES_LOGGED = 5

_NOTHING = TypeState()

_log = logs.get("agent")


class Supervisor:
    """Runs ``command`` for the plugin type ``type`` whose settings block is ``block``.

    ``changed`` is called, from a thread of the supervisor's, after each change of ``state``. Where
    the block has a ``memory_limit`` (bytes), the process is ended when it grows beyond.
    ``silence`` and ``grace`` are in seconds.

    After a reload ``state`` is what the supervisor before knew, and ``before`` its block: that is
    shown until the new process has found its targets, which must not take it long.
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
        silence: float = SILENCE_MAXIMUM,
        grace: float = GRACE,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self.type = type
        self._command = command
        self.block = block
        self._before = before
        self._changed = changed
        self._silence = silence
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
        self._flaw = ""
        self._told_trouble = ""
        self._memory_limit = int(block.get("memory_limit") or 0)
        self._weigh_at = 0.0
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name=f"supervise {type}", daemon=True)

    @property
    def state(self) -> TypeState:
        """What is known of the type's instances now."""
        return self._state

    @property
    def trouble(self) -> str:
        """What keeps the type from being told of well, in one line; "" when nothing does.

        A prober that died counts as troubled until it has run steadily again.
        """
        steady = time.monotonic() - self._started > self._backoff.longest
        death = "" if steady else self._death
        words = (death, self._told_trouble, self._flaw, self._state.hidden)
        return "; ".join(filter(None, words))[:TROUBLE_MAXIMUM]

    @property
    def pid(self) -> int | None:
        """The process that runs now, or ran last; None before the first."""
        return self._child.pid if self._child else None

    @property
    def settled(self) -> Mapping[str, Any]:
        """The block that what is shown comes from: until the targets of ``block`` are found, the
        one before it."""
        before = self._before
        return self.block if before is None else before

    def acknowledged(self, left: Iterable[Key]) -> None:
        """A server knows that those instances left on purpose."""
        with self._lock:  # no change that a server does not know
            self._state = self._state.acknowledged(left)

    def start(self) -> None:
        self._thread.start()

    def release(self) -> None:
        """Asks the process to end, without waiting for it."""
        with self._lock:
            self._stopping.set()
            if self._child:
                _close(self._child.stdin)

    def stop(self) -> None:
        """Ends the process, by force after ``grace``, and waits until it is gone."""
        self.release()
        if self._child:
            _end(self._child, self._grace)
        if self._thread.ident is not None:
            self._thread.join(GRACE)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._started = time.monotonic()
            end = self._live()
            if self._stopping.is_set() or self._idle:
                return
            steady = time.monotonic() - self._started > self._backoff.longest
            self._started = time.monotonic()
            failures = 1 if steady else failures + 1
            self._mourn(f"the prober of {self.type} {end} and is being restarted")
            self._stopping.wait(self._backoff.delay(failures))

    def _mourn(self, reason: str) -> None:
        _log.warning(reason)
        self._death = reason
        self._become(lambda state: state.after_death(reason, time.time_ns()))

    def _live(self) -> str:
        """One life of the process, from start to reaping; returns how it ended."""
        self._bad_lines = 0
        self._sizes = {}
        self._flaw = self._told_trouble = ""
        try:
            child = self._spawn()
        except OSError as error:
            return f"could not be started ({error.strerror})"
        if child is None:
            return "was not wanted any more"
        flaw = self._listen(child)
        status = _end(child, 0.0 if flaw else self._grace)
        _close(child.stdout)
        if flaw:
            return flaw
        return f"ended (signal {-status})" if status < 0 else f"ended (status {status})"

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._stopping.is_set():
                return None
            pipe = subprocess.PIPE
            self._child = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, bufsize=0)
            return self._child

    def _listen(self, child: subprocess.Popen[bytes]) -> str:
        """Reads lines to the end of output; returns why it must be ended before that, or "".

        Silence is counted in looks that found nothing, not by the clock: one that was stopped
        itself (SIGSTOP), alone or together with its children, cannot tell how long it was deaf.
        """
        assert child.stdin is not None
        assert child.stdout is not None
        with suppress(OSError, ValueError):  # dead already, or closed by stop(): EOF will tell
            shown = [encode(found).decode() for found in self._state.healthy()]
            orders = {"settings": self.block, "before": self._before, "shown": shown}
            child.stdin.write(json.dumps(orders).encode() + b"\n")
        splitter = Splitter()
        late_at = time.monotonic() + START_MAXIMUM
        patience = START_MAXIMUM
        for data in _read(child.stdout.fileno()):
            if data == b"":
                return ""
            if data is None:
                patience -= LOOK_INTERVAL
            else:
                patience = self._silence
                since = time.monotonic()
                for line in splitter.split(data):
                    self._hear(line)
                self._stopping.wait(min(REST * (time.monotonic() - since), REST_MAXIMUM))
            if patience <= 0:
                return "gave no sign of life"
            if self._before is not None and time.monotonic() > late_at:
                return "has not found its targets"
            if self._has_grown(child.pid):
                return f"grew past its memory limit of {_mebibytes(self._memory_limit)}"
        raise AssertionError("a pipe has an end")

    def _has_grown(self, pid: int) -> bool:
        """Whether the process has more memory than it may; looks now and then only."""
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
            self._flaw = f"a line of its prober is no good: {error}"
            if self._bad_lines <= BAD_LINES_LOGGED:
                _log.warning("bad line of a prober", type=self.type, flaw=str(error))
            return
        if isinstance(message, Trouble):
            self._told_trouble = message.text
        self._idle = self._idle or message == Idle()
        if isinstance(message, Targets | Idle):
            self._before = None
        self._become(lambda state: state.after(message))

    def _weigh(self, message: Message, size: int) -> None:
        """Raises BadLine for more than the agent holds of a type; its own prober keeps within that
        with room to spare."""
        if isinstance(message, Targets):
            if len(message.names) > TARGETS_MAXIMUM:
                raise BadLine(f"there are more than {TARGETS_MAXIMUM:,} targets")
            kept = self._sizes.keys() & message.names
            self._sizes = {name: self._sizes[name] for name in kept}
        if isinstance(message, Found | Failed):
            sizes = {**self._sizes, message.target: size}
            if len(sizes) > TARGETS_MAXIMUM or sum(sizes.values()) > 2 * SIZE_MAXIMUM:
                raise BadLine("it tells of more than there is room for")
            self._sizes = sizes

    def _become(self, next: Callable[[TypeState], TypeState]) -> None:
        with self._lock:
            before, self._state = self._state, next(self._state)
            changed = self._state != before
        if changed:
            self._changed()


class Splitter:
    """Cuts a stream of bytes into lines. Of a line that is too long only so much is kept as shows
    that it is."""

    def __init__(self) -> None:
        self._rest = b""

    def split(self, data: bytes) -> Iterator[bytes]:
        """The lines that end in ``data``, without their newlines."""
        *whole, rest = (self._rest + data).split(b"\n")
        self._rest = rest[: LINE_MAXIMUM + 1]
        yield from whole


def resident(pid: int) -> int:
    """Bytes of memory that a process has in use; 0 when it is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _mebibytes(number: int) -> str:
    return f"{number / MEBIBYTE:.4g} MiB"


def _read(output: int) -> Iterator[bytes | None]:
    """What comes out of a pipe, b"" at its end; None for each look that found nothing."""
    poll = select.poll()
    poll.register(output, select.POLLIN)
    while True:
        yield os.read(output, 1 << 16) if poll.poll(LOOK_INTERVAL * 1000) else None


def _end(child: subprocess.Popen[bytes], grace: float) -> int:
    """Ends and reaps the process: by the end of its input, else by force; returns its status."""
    _close(child.stdin)
    try:
        return child.wait(grace)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _close(pipe: IO[bytes] | None) -> None:
    if pipe:
        pipe.close()
