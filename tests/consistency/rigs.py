"""The systems under test: servers, and the parts of them that may be broken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.consistency.calls import Server
from tests.consistency.checker import Bounds
from tests.consistency.proxy import Proxy, proxies
from tests.consistency.server import Wrap, shared_server
from tests.ports import reserved_port
from tests.promises import PATIENCE

TTL = "30s"


class Target(Protocol):
    """A part that can be broken, and repaired again. ``servers`` are those whose clients notice."""

    name: str
    servers: frozenset[str]
    ways: Sequence[str]

    def break_(self, way: str) -> None: ...

    def mend(self, way: str) -> None: ...


@dataclass
class Rig:
    """Running servers, the targets of faults, and ``restart``, which restarts all servers."""

    servers: Sequence[Server]
    targets: Sequence[Target] = ()
    restart: Callable[[], None] = lambda: None
    bounds: Bounds = field(default_factory=Bounds)
    by_connection: bool = False
    slowest: float = 1.5
    """The maximum duration of a fault in seconds."""


CUT, STALL, KILL, PAUSE = "cut", "stall", "kill -9", "pause"


@dataclass
class Link:
    """A proxy as a target of faults."""

    name: str
    proxy: Proxy
    servers: frozenset[str]
    ways: Sequence[str] = (CUT, STALL)

    def break_(self, way: str) -> None:
        (self.proxy.cut if way == CUT else self.proxy.stall)()

    def mend(self, way: str) -> None:
        self.proxy.heal()


@dataclass
class Killable:
    """A process as a target of faults; ``start`` starts it each time."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    is_ready: Callable[[subprocess.Popen[bytes]], None]
    servers: frozenset[str]
    ways: Sequence[str] = (KILL, PAUSE)

    def __post_init__(self) -> None:
        self.process = self.start()

    def break_(self, way: str) -> None:
        if way == KILL:
            self.kill()
        else:
            self.process.send_signal(signal.SIGSTOP)

    def mend(self, way: str) -> None:
        if way == KILL:
            self.process = self.start()
            self.is_ready(self.process)
        else:
            self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def in_process(
    data_dir: Path, count: int = 2, *, wrap: Wrap, ttl: str = TTL, config: str = ""
) -> Iterator[Rig]:
    """Run servers in this process, on one SQLite database or on the store that ``config`` names;
    ``wrap`` may put a fault into each server's store."""
    with ExitStack() as until_end:
        ports = [until_end.enter_context(reserved_port()) for _ in range(count)]
        running = until_end.enter_context(ExitStack())

        def start() -> None:
            for port in ports:
                running.enter_context(
                    shared_server(
                        data_dir, port, wrap=wrap, config=config, server_heartbeat_ttl=ttl
                    )
                )

        def restart() -> None:
            running.close()
            start()

        start()
        servers = [Server(f"s{n}", f"127.0.0.1:{port}") for n, port in enumerate(ports)]
        yield Rig(servers, restart=restart)


@contextmanager
def processes(data_dir: Path, count: int = 3, *, ttl: str = TTL) -> Iterator[Rig]:
    """Run servers in separate processes, on one SQLite database, each behind a proxy."""
    with ExitStack() as until_end:
        links = until_end.enter_context(proxies())
        servers: list[Server] = []
        targets: list[Target] = []
        killable: list[Killable] = []
        for number in range(count):
            port = until_end.enter_context(reserved_port())
            name = f"s{number}"
            start = _starter(data_dir, port, ttl)
            process = Killable(f"server {name}", start, _is_ready, frozenset([name]))
            until_end.callback(process.kill)
            killable.append(process)
            proxy = links.link("127.0.0.1", port)
            servers.append(Server(name, proxy.address))
            targets += [process, Link(f"link to {name}", proxy, frozenset([name]))]

        def restart() -> None:
            for each in killable:
                each.kill()
            _start_all(killable)

        for each in killable:
            each.is_ready(each.process)
        yield Rig(servers, targets, restart)


def _start_all(killed: Sequence[Killable]) -> None:
    """Start processes in parallel."""
    for each in killed:
        each.process = each.start()
    for each in killed:
        each.is_ready(each.process)


def _starter(data_dir: Path, port: int, ttl: str) -> Callable[[], subprocess.Popen[bytes]]:
    """Return a function that starts a server as a process."""
    command = [sys.executable, "-m", "tests.consistency.server", str(data_dir), str(port)]
    root = Path(__file__).parent.parent.parent

    def start() -> subprocess.Popen[bytes]:
        with (data_dir / f"{port}.log").open("ab") as stream:
            return subprocess.Popen(
                [*command, f"server_heartbeat_ttl={ttl}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stream,
                env={**os.environ, "PYTHONPATH": str(root)},
            )

    return start


def _is_ready(process: subprocess.Popen[bytes]) -> None:
    """Wait until a server reports that it answers."""
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n", f"{process.args} ended: see its log"
