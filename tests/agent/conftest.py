"""What the agent's tests share: a folder of paper targets, a supervisor of them, a small server."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from plugind.agent import report
from plugind.agent.backoff import Backoff
from plugind.agent.supervisor import Supervisor
from tests.agent.desk import Desk, until

COMMAND = [sys.executable, str(Path(__file__).with_name("paper.py"))]
QUICK = Backoff(0.02, 0.1)
ORIGIN = report.Origin("11111111-2222-4333-8444-555555555555", "n1", "dc1", "0", "run")

StartSupervisor = Callable[..., "Paper"]


class Paper:
    """A supervisor of the paper type, and its folder to write orders in."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        os.mkfifo(folder / ".changed")
        block = {"folder": str(folder), "probe_interval": "50ms", "probe_timeout": "200ms"}
        block |= options.pop("block", {})
        command = options.pop("command", COMMAND)
        self.changes = 0
        options = {"backoff": QUICK} | options
        self.supervisor = Supervisor("paper", command, block, self._count, **options)

    def _count(self) -> None:
        self.changes += 1

    def order(self, name: str, text: str) -> None:
        """Writes an order whole, so that no probe reads half of it."""
        part = self.folder / f".part-{name}"
        part.write_text(text)
        os.replace(part, self.folder / name)
        self.poke()

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()
        self.poke()

    def poke(self) -> None:
        """Has the prober look at once, if it listens; it looks by itself every second."""
        with suppress(OSError):
            fifo = os.open(self.folder / ".changed", os.O_WRONLY | os.O_NONBLOCK)
            os.write(fifo, b"\n")
            os.close(fifo)

    def plugins(self) -> dict[str, Any]:
        """What a report says now, without times."""
        state = self.supervisor.state
        plugins = report.build(ORIGIN, {"paper": state})["Plugins"].get("paper", {})
        return {
            id: {role: _short(fingerprint) for role, fingerprint in roles.items()}
            for id, roles in plugins.items()
        }

    def shows(self, expected: dict[str, Any]) -> None:
        until(lambda: self.plugins() == expected, lambda: f"{self.plugins()} != {expected}")


def _short(fingerprint: Any) -> Any:
    """A description that says all: what a paper that is healthy says is its own word."""
    return fingerprint and (fingerprint["Healthy"], fingerprint.get("HealthDescription"))


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[StartSupervisor]:
    """Makes Papers over ``tmp_path``, not started, and stops them."""
    made: list[Paper] = []

    def make(**options: Any) -> Paper:
        made.append(Paper(tmp_path, **options))
        return made[-1]

    yield make
    for each in made:
        each.supervisor.stop()


@pytest.fixture
def log() -> Iterator[list[Any]]:
    """What is logged in this process, as it comes."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A small server that takes reports."""
    desk = Desk()
    yield desk
    desk.close()


@pytest.fixture
def second_desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()
