"""Real processes for tests: servers, agents and sample drivers, each ended by its own ID."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plugin_types.csi.control import control_path, send
from plugin_types.csi.sockets import unreachable
from plugind.client import Client
from tests.hygiene import status_of
from tests.ports import reserved_port
from tests.promises import PATIENCE
from tests.support import eventually

PLUGIND = Path(sys.executable).with_name("plugind")


@dataclass
class Process:
    """A child process whose standard error goes to its own file."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def logged(self) -> str:
        return self.log.read_text()

    @property
    def children(self) -> list[int]:
        """Return the IDs of its running child processes."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended meanwhile
                state, parent, *_ = status_of(path)
                if int(parent) == self.pid and state != "Z":
                    found.append(int(path.parent.name))
        return found

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def send_all(self, number: signal.Signals) -> None:
        """Send a signal to the process and to its children: to an agent and its probers."""
        if self.popen.poll() is None:
            os.killpg(self.pid, number)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait(PATIENCE)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the process with a signal; return its exit status."""
        self.popen.send_signal(number)
        return self.popen.wait(PATIENCE)


@dataclass
class Machine:
    """A test's processes, with a folder each; all of them end with the test."""

    folder: Path
    started: list[Process] = field(default_factory=list)
    places: ExitStack = field(default_factory=ExitStack)

    def port(self) -> int:
        """Reserve a port for a server that is restarted on it; return the port."""
        return self.places.enter_context(reserved_port())

    def start(
        self,
        *command: str | Path,
        environ: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        folder: Path | None = None,
        program: Path = PLUGIND,
    ) -> Process:
        """Start a plugind command (through a wrapper that executes it, if given), or another
        program."""
        log = self.folder / f"{len(self.started)}.log"
        with log.open("wb") as stream:
            popen = subprocess.Popen(
                [*wrapper, program, *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                start_new_session=True,
                env={**os.environ, **(environ or {})},
                cwd=folder,
            )
        self.started.append(Process(popen, log))
        return self.started[-1]

    def server(
        self,
        name: str = "server",
        port: int = 0,
        *,
        wrapper: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        **settings: str,
    ) -> tuple[Process, Client]:
        """Start a server with its own data; once it answers, return it and a client for it.

        ``settings`` are given by name (``server_heartbeat_ttl="2s"``).
        """
        process = self.start(
            "agent",
            *("--server-enabled", "true", "--ports-http", str(port)),
            *("--data-dir", self.folder / name),
            environ={**_variables(settings), **(environ or {})},
            wrapper=wrapper,
        )
        address = eventually(lambda: re.search(r"address=(http://\S+)", process.logged))
        return process, Client(address[1])

    def agent(self, name: str, server: str, *sockets: str, **settings: str) -> Process:
        """Start a named agent, which finds sockets by globs below ``sockets/NAME``.

        ``settings`` are given by name (``client_datacenter="dc2"``).
        """
        globs = ",".join(
            str(self.folder / "sockets" / name / each) for each in sockets or ["*.sock"]
        )
        return self.start(
            "agent",
            *("--client-enabled", "true", "--client-servers", server, "--name", name),
            *("--data-dir", self.folder / f"agent-{name}"),
            *("--plugin-types-enabled", "csi"),  # the machine may have plugins of other types
            environ={
                "PLUGIND_PLUGIN_TYPE_CSI_SOCKETS": globs,
                **_variables(settings),
            },
        )

    def agent_with(self, name: str, server: str, type: str, block: str, **settings: str) -> Process:
        """Start an agent with the given block of one plugin type; pass ``settings`` by name."""
        file = self.folder / f"{name}.hcl"
        file.write_text(f'plugin_type "{type}" {{\n{block}\n}}\n')
        return self.start(
            "agent",
            *("--client-enabled", "true", "--client-servers", server, "--name", name),
            *("--data-dir", self.folder / f"agent-{name}", "--plugin-types-enabled", type),
            *("--config", file),
            environ=_variables(settings),
        )

    def driver(self, socket: str, *options: str) -> Process:
        """Start a sample driver on ``sockets/SOCKET``, and wait until it accepts commands."""
        path = self.folder / "sockets" / socket
        process = self.start("csi-sample", "--socket", path, *options)
        for place in (str(path), control_path(str(path))):
            eventually(lambda place=place: not unreachable(place))
        return process

    def drivers(self, *sockets: str) -> list[Process]:
        """Start several drivers side by side."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self.driver, sockets))

    def send(self, socket: str, *words: str) -> None:
        """Send a sample driver a command that changes its behaviour."""
        send(str(self.folder / "sockets" / socket), " ".join(words))


def _variables(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"PLUGIND_{name.upper()}": value for name, value in settings.items()}


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    made = Machine(folder)
    try:
        yield made
    finally:
        for process in made.started:
            process.send_all(signal.SIGCONT)
            process.kill()
        made.places.close()


def stopped(pid: int) -> bool:
    """Return whether all threads of a process are stopped; a signal takes a moment to act."""
    states = set()
    for each in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # the thread has ended meanwhile
            states.add(status_of(each)[0])
    return states == {"T"}


def alive(pid: int) -> bool:
    """Return whether a process is running; an ended process that was not reaped yet is not."""
    try:
        return status_of(Path(f"/proc/{pid}/stat"))[0] != "Z"
    except OSError:
        return False


def counts(client: Client, id_: str) -> tuple[int, int, int, int] | None:
    """Return controllers healthy and expected, then nodes; None when it is not listed."""
    for row in client.plugins("csi").value:
        if row["ID"] == id_:
            kinds = ("ControllersHealthy", "ControllersExpected", "NodesHealthy", "NodesExpected")
            first, second, third, fourth = (row[kind] for kind in kinds)
            return first, second, third, fourth
    return None


def instance(client: Client, id_: str, plural: str = "Nodes") -> dict[str, Any]:
    """Return the only instance of a plugin in one role."""
    (one,) = client.plugin("csi", id_).value[plural].values()
    found: dict[str, Any] = one
    return found
