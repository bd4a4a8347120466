"""The measured servers: plugind and bare functions, each in its own processes.

All of them listen on 127.0.0.1, and end with the block in which they were started.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parent.parent
PATIENCE = 60.0
"""Seconds that a server has to start, and to answer a request."""

PLACES = 12_000
"""Connections that a server of ASGI accepts at the same time, bare or plugind's."""

_LOOK_EVERY = 0.02
_FEW = 4  # threads of waitress by default, with at most 100 connections


@dataclass(frozen=True)
class Front:
    """An HTTP server and the number of its worker processes."""

    http: str
    workers: int = 1

    @property
    def name(self) -> str:
        return self.http if self.workers == 1 else f"{self.http}, {self.workers} workers"

    @property
    def key(self) -> str:
        """Return its name on the command line."""
        return self.http if self.workers == 1 else f"{self.http}-{self.workers}"


WAITRESS = Front("waitress")
GRANIAN = Front("granian")
GRANIAN_2 = Front("granian", 2)
UVICORN = Front("uvicorn")
FRONTS = (WAITRESS, GRANIAN, GRANIAN_2, UVICORN)


@dataclass(frozen=True)
class Server:
    """A server's process, with the processes that it started, its port and its log file."""

    popen: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def processes(self) -> list[psutil.Process]:
        first = psutil.Process(self.popen.pid)
        return [first, *first.children(recursive=True)]

    def cpu(self) -> float:
        """Return the seconds of processor time that its threads have used."""
        return sum(_cpu_of(process.pid) for process in self.processes)

    def memory(self) -> float:
        """Return the resident memory of its processes in MiB."""
        return sum(process.memory_info().rss for process in self.processes) / 2**20


def _cpu_of(pid: int) -> float:
    """Return the seconds for which the threads of a process ran, with nanosecond precision."""
    total = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has ended
            total += int(file.read_text().split()[0])
    return total / 1e9


@contextmanager
def plugind(
    data_dir: Path, config: str, front: Front, more: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Serve the contents of ``data_dir`` with plugind; ``more`` has further settings by flag."""
    file = data_dir / "bench.hcl"
    file.write_text(config)
    options = {
        "--config": str(file),
        "--data-dir": str(data_dir),
        "--server-enabled": "true",
        "--server-http": front.http,
        "--server-workers": str(front.workers),
        **(more or {}),
    }
    with port() as number:
        command = [sys.executable, "-m", "plugind", "agent", "--ports-http", str(number)]
        command += [word for pair in options.items() for word in pair]
        with started(command, number, data_dir / "server.log") as server:
            ready(server)
            yield server


@contextmanager
def bare(
    module: str, front: Front, folder: Path, environ: Mapping[str, str], threads: int = _FEW
) -> Iterator[Server]:
    """Serve the functions of a module of ``benchmarks.bare``. waitress has that number of threads,
    four by its own default."""
    name = f"benchmarks.bare.{module}"
    with port() as number:
        match front.http:
            case "waitress":
                options = [f"--listen=127.0.0.1:{number}", f"--threads={threads}"]
                if threads > _FEW:
                    options += [f"--connection-limit={PLACES}", "--asyncore-use-poll"]
                options.append(f"{name}:wsgi")
                command = [str(BIN / "waitress-serve"), *options]
            case "uvicorn":
                quiet = ["--no-access-log", "--log-level", "warning", "--no-proxy-headers"]
                options = ["--port", str(number), "--backlog", str(PLACES), f"{name}:asgi"]
                command = [str(BIN / "uvicorn"), *quiet, *options]
            case _:
                options = ["--interface", "asgi", "--http", "1", "--no-ws", "--log-level", "error"]
                places = ["--backlog", str(PLACES), "--backpressure", str(PLACES)]
                where = ["--host", "127.0.0.1", "--port", str(number)]
                workers = ["--workers", str(front.workers), f"{name}:asgi"]
                command = [str(BIN / "granian"), *options, *places, *where, *workers]
        with started(command, number, folder / "bare.log", environ) as server:
            ready(server)
            yield server


@contextmanager
def started(
    command: Sequence[str], port: int, log: Path, environ: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a command while the block runs, then kill its processes by their IDs.

    ``port`` is the port that the command listens on, 0 for none.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with log.open("wb") as stream:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={**os.environ, "PYTHONPATH": path, **(environ or {})},
            start_new_session=True,
        )
    server = Server(popen, port, log)
    try:
        yield server
    finally:
        _end(server)


def _end(server: Server) -> None:
    """Kill the processes of a server, each by its ID; its data are no longer needed."""
    left = server.processes if server.popen.poll() is None else []
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    server.popen.wait()


@contextmanager
def port() -> Iterator[int]:
    """Reserve a free port with a socket that does not listen, so that a server still can."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield int(sock.getsockname()[1])


def ready(server: Server) -> None:
    """Wait until a server answers. Raise RuntimeError when it ends first, or takes over 60 s."""
    deadline = time.monotonic() + PATIENCE
    while not _answers(server.port):
        if server.popen.poll() is not None or time.monotonic() > deadline:
            text = server.log.read_text(errors="replace").strip()
            raise RuntimeError(f"a server did not start: {text[-2000:]}")
        time.sleep(_LOOK_EVERY)


def _answers(port: int) -> bool:
    try:
        ask(port, "/")
    except (OSError, HTTPException):
        return False
    return True


@dataclass(frozen=True)
class Answer:
    """An HTTP answer as it was received."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """Return the value of a header, whose name is given in lower case."""
        return {key.lower(): value for key, value in self.headers}[name]

    @property
    def index(self) -> int:
        return int(self.header("x-nomad-index"))


def ask(
    port: int,
    path: str,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
    body: bytes | None = None,
) -> Answer:
    """Send one request over a new connection and return the answer."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request(method, path, body, dict(headers or {}))
        got = connection.getresponse()
        return Answer(got.status, got.reason, got.getheaders(), got.read())
