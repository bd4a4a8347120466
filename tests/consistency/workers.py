"""One server with several worker processes on one SQLite database; faults break its workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.consistency.calls import Server
from tests.consistency.proxy import proxies
from tests.consistency.rigs import KILL, PAUSE, Link, Rig
from tests.processes import Process, machine
from tests.promises import eventually

NAME = "s0"


@dataclass
class Worker:
    """A target of faults: the worker that ``now`` returns at the time of a fault."""

    number: int
    now: Callable[[], list[int]]
    name: str
    servers: frozenset[str] = frozenset([NAME])
    ways: Sequence[str] = (KILL, PAUSE)
    broken: int = 0

    def break_(self, way: str) -> None:
        workers = eventually(self.now)
        self.broken = workers[self.number % len(workers)]
        os.kill(self.broken, signal.SIGKILL if way == KILL else signal.SIGSTOP)

    def mend(self, way: str) -> None:
        if way == PAUSE:
            with suppress(ProcessLookupError):  # its parent may have replaced it
                os.kill(self.broken, signal.SIGCONT)


@contextmanager
def workers(folder: Path, count: int = 4, *, ttl: str) -> Iterator[Rig]:
    """Run a server with several workers behind a proxy. Its clients know a worker only by the
    connection."""
    with machine(folder) as made, proxies() as links:
        port = made.port()
        running: list[Process] = []

        def start() -> None:
            process, client = made.server(
                "data", port, server_workers=str(count), server_heartbeat_ttl=ttl
            )
            client.close()
            running[:] = [process]

        def restart() -> None:
            running[0].stop()
            start()

        start()
        link = links.link("127.0.0.1", port)
        each = [
            Worker(number, lambda: _workers(running[0]), f"worker {number}")
            for number in range(count)
        ]
        targets = [*each, Link(f"link to {NAME}", link, frozenset([NAME]))]
        yield Rig([Server(NAME, link.address)], targets, restart, by_connection=True)


def _workers(process: Process) -> list[int]:
    """Return the workers of a server; it has no other child processes."""
    found = []
    for each in process.children:
        with suppress(psutil.NoSuchProcess):
            if "plugind.cli.worker" in psutil.Process(each).cmdline():
                found.append(each)
    return sorted(found)
