"""Runs third-party programs with limits on time and output, and without a shell.

An agent that runs as root runs only programs that only root can change: see ``trust``.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from plugind.errors import ProbeFailed
from plugind.model.times import SECOND, format_duration
from plugind.toolbox.trust import why_not_run

INPUT_MAXIMUM = 4_096
"""Bytes of standard input. A pipe accepts that many at once (PIPE_BUF), so writing never blocks."""

GUARD = ("/bin/sh", "-c", "read -r _; kill -KILL 0")
"""Kills its own process group, including itself, when its standard input ends."""

_KILLED_WITHIN = 0.1  # seconds; a process that takes longer is blocked by a disk or network share
_STEP = 1 << 16


@dataclass(frozen=True)
class Ended:
    """The result of a program. A negative ``status`` is the number of the signal that ended it."""

    status: int
    output: bytes
    errors: bytes

    @property
    def signal(self) -> str:
        """Return the name of the signal that ended the program, such as "SIGKILL"; "" for none."""
        if self.status >= 0:
            return ""
        try:
            return signal.Signals(-self.status).name
        except ValueError:  # most real-time signals have no name
            return f"signal {-self.status}"


class Program:
    """One program that is run repeatedly, but never twice at a time; for use by one thread.

    The program gets PATH and the variables of ``environ``, but nothing else of this process's
    environment, which may hold secrets. ``maximum`` is the number of bytes that it may print.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], *, maximum: int) -> None:
        self._command = command
        self._environ = {"PATH": os.environ.get("PATH", os.defpath), **environ}
        self._maximum = maximum
        self._child: subprocess.Popen[bytes] | None = None

    def run(self, timeout: float, stdin: bytes = b"") -> Ended:
        """Run the program to its end, then kill all processes that it started.

        Raise ProbeFailed when it cannot be started or must not be run, prints too much, or has not
        ended after ``timeout`` seconds.
        """
        self._check_trust()
        if self._child is not None and self._child.poll() is None:
            raise ProbeFailed(
                f"process {self._child.pid} of an earlier probe was killed and does not end "
                "(it may wait for a disk or a network share)"
            )
        try:
            printed = self._run(stdin, time.monotonic() + timeout)
        finally:
            if self._child is not None:
                with suppress(subprocess.TimeoutExpired):
                    self._child.wait(_KILLED_WITHIN)
        if printed is None:
            limit = format_duration(round(timeout * SECOND))
            raise ProbeFailed(f"it did not end within {limit} and was killed")
        assert self._child is not None
        return Ended(self._child.wait(), *printed)

    def _run(self, stdin: bytes, deadline: float) -> tuple[bytes, bytes] | None:
        """Return the output of both streams, or None when the program did not end in time."""
        with _group() as group:
            self._child = child = self._start(stdin, group)
            assert child.stdout is not None
            assert child.stderr is not None
            with child.stdout as output, child.stderr as errors, _pidfd(child.pid) as over:
                return self._gather(output.fileno(), errors.fileno(), over, deadline)

    def _check_trust(self) -> None:
        try:
            reason = why_not_run(self._command, self._environ["PATH"])
        except OSError as error:
            raise self._not_started(error) from error
        if reason:
            raise ProbeFailed(f"{self._command[0]} is not run: {reason}")

    def _start(self, stdin: bytes, group: int) -> subprocess.Popen[bytes]:
        assert len(stdin) <= INPUT_MAXIMUM
        source, sink = os.pipe()
        with os.fdopen(source, "rb") as reader:
            with os.fdopen(sink, "wb") as writer:
                writer.write(stdin)
            try:
                return subprocess.Popen(
                    self._command,
                    stdin=reader,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd="/",
                    env=self._environ,
                    process_group=group,
                    bufsize=0,
                )
            except OSError as error:
                raise self._not_started(error) from error

    def _not_started(self, error: OSError) -> ProbeFailed:
        reason = (error.strerror or str(error)).lower()
        if isinstance(error, FileNotFoundError) and os.path.exists(self._command[0]):
            reason = "the interpreter that it asks for is missing"
        return ProbeFailed(f"cannot start {self._command[0]}: {reason}")

    def _gather(
        self, output: int, errors: int, over: int, deadline: float
    ) -> tuple[bytes, bytes] | None:
        """Read until the program ends, even if its children still have the streams open."""
        printed = {output: b"", errors: b""}
        with selectors.DefaultSelector() as selector:
            for descriptor in (output, errors, over):
                selector.register(descriptor, selectors.EVENT_READ)
            while ready := selector.select(max(0.0, deadline - time.monotonic())):
                streams = [key.fd for key, _ in ready if key.fd != over]
                if not streams:
                    return printed[output], printed[errors]
                for stream in streams:
                    if data := os.read(stream, _STEP):
                        printed[stream] += data
                    else:
                        selector.unregister(stream)
                if sum(map(len, printed.values())) > self._maximum:
                    raise ProbeFailed(f"it printed more than {self._maximum:,} bytes")
        return None


@contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    """Yield a descriptor that becomes readable when the process ends."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _group() -> Iterator[int]:
    """Yield a process group that is killed when the block ends.

    If this process ends earlier, in whatever way, a guard in the group kills the group: the guard
    waits until a pipe closes that only this process holds.
    """
    guard = subprocess.Popen(
        GUARD,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        process_group=0,
    )
    with guard:  # the group's ID cannot be reused until the guard is reaped
        try:
            yield guard.pid
        finally:
            with suppress(ProcessLookupError):
                os.killpg(guard.pid, signal.SIGKILL)
