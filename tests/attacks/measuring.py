"""The times that calls take during some other activity, compared with idle times."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

PATH = "/v1/plugins?type=csi"
WORST = 10.0
"""Seconds after which a call counts as never answered."""


@dataclass
class Times:
    """Calls of one kind, each over its own connection, and the seconds that each took."""

    took: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, run: Callable[[], bytes]) -> None:
        """Make one call; it counts as failed unless the answer is 200."""
        started = time.monotonic()
        try:
            answer = run()
            if not answer.startswith(b"HTTP/1.1 200 "):
                self.failures.append(f"{answer[:1000]!r}")
        except OSError as error:
            self.failures.append(repr(error))
        self.took.append(time.monotonic() - started)

    def share(self, percent: int) -> float:
        """Return the seconds within which that percentage of the calls was answered."""
        return sorted(self.took)[min(len(self.took) * percent // 100, len(self.took) - 1)]

    @property
    def median(self) -> float:
        return self.share(50)

    def __str__(self) -> str:
        return " / ".join(_milliseconds(self.share(percent)) for percent in (50, 95, 100))


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f}" if seconds < 0.01 else f"{seconds * 1000:,.0f}"


def call(
    port: int,
    path: str = PATH,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> bytes:
    """Return a whole answer, read over a new connection."""
    lines = [f"{name}: {value}\r\n" for name, value in (headers or {}).items()]
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{''.join(lines)}"
    with socket.create_connection(("127.0.0.1", port), timeout=WORST) as sock:
        sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return b"".join(iter(lambda: sock.recv(2**16), b""))


def plain_reads(
    port: int, seconds: float = 5.0, going_on: Callable[[], bool] = lambda: True
) -> Times:
    """Read repeatedly for ``seconds``; fail if the other activity is no longer ``going_on``."""
    times, end = Times(), time.monotonic() + seconds
    while time.monotonic() < end:
        assert going_on(), "what the reads are measured against has ended"
        times.add(lambda: call(port))
        time.sleep(0.01)
    return times


def allow_files(number: int) -> None:
    """Let this process and its children have that many files open; fail if that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= number:
        return
    if hard < number:
        pytest.fail(f"only {hard} files may be open at a time, {number} are needed: ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
