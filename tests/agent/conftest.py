"""Fixtures shared by the agent's tests: a supervisor of the scripted type, a fake server."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from plugind.agent.backoff import Backoff
from plugind.agent.report import report
from plugind.agent.supervisor.supervisor import Supervisor
from tests.agent.fake_server import FakeServer
from tests.promises import eventually

COMMAND = [sys.executable, str(Path(__file__).with_name("scripted_type.py"))]
QUICK = Backoff(0.02, 0.1)
SCHEDULE = {"probe_interval": "50ms", "probe_timeout": "10s"}
HANGS = {"probe_timeout": "200ms"}
"""The schedule for probes that hang. On a busy machine it can be too short for others."""
ORIGIN = report.Origin("11111111-2222-4333-8444-555555555555", "n1", "dc1", "0", "run")

StartSupervisor = Callable[..., "Scripted"]


class Scripted:
    """A supervisor of the scripted type, and the folder for its scripts."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        os.mkfifo(folder / ".changed")
        block = {"folder": str(folder), **SCHEDULE, **options.pop("block", {})}
        command = options.pop("command", COMMAND)
        self.changes = 0
        self.shown: list[Any] = []
        options = {"backoff": QUICK} | options
        self.supervisor = Supervisor("scripted", command, block, self._count, **options)

    def _count(self) -> None:
        self.changes += 1
        self.shown.append(self.plugins())

    def order(self, name: str, text: str) -> None:
        """Write a script in one step, so that no probe reads half of it."""
        part = self.folder / f".part-{name}"
        part.write_text(text)
        os.replace(part, self.folder / name)
        self.poke()

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()
        self.poke()

    def poke(self) -> None:
        """Make the prober look at once, if it listens; otherwise it looks every second."""
        with suppress(OSError):
            fifo = os.open(self.folder / ".changed", os.O_WRONLY | os.O_NONBLOCK)
            os.write(fifo, b"\n")
            os.close(fifo)

    def plugins(self) -> dict[str, Any]:
        """Return the plugins of a report made now, without times."""
        state = self.supervisor.state
        plugins = report.build(ORIGIN, {"scripted": state})["Plugins"].get("scripted", {})
        return {
            id: {role: _short(fingerprint) for role, fingerprint in roles.items()}
            for id, roles in plugins.items()
        }

    def shows(self, expected: dict[str, Any]) -> None:
        eventually(lambda: self.plugins() == expected, what=self.plugins)

    def has_shown(self, expected: dict[str, Any]) -> None:
        """Wait for a state that may already be over when the test looks."""
        eventually(lambda: expected in self.shown, what=self.plugins)


def _short(fingerprint: Any) -> Any:
    """Return a fingerprint's health and description: the scripted type reports nothing else."""
    return fingerprint and (fingerprint["Healthy"], fingerprint.get("HealthDescription"))


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[StartSupervisor]:
    """Yield a function that makes supervisors on ``tmp_path`` without starting them; stop them at
    the end."""
    made: list[Scripted] = []

    def make(**options: Any) -> Scripted:
        made.append(Scripted(tmp_path, **options))
        return made[-1]

    yield make
    for each in made:
        each.supervisor.stop()


@pytest.fixture
def log() -> Iterator[list[Any]]:
    """Yield the log entries of this process."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture
def fake_server() -> Iterator[FakeServer]:
    """Yield a small server that accepts reports."""
    fake_server = FakeServer()
    yield fake_server
    fake_server.close()


@pytest.fixture
def second_server() -> Iterator[FakeServer]:
    fake_server = FakeServer()
    yield fake_server
    fake_server.close()
