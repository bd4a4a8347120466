"""Measure many parked queries on one worker.

``python -m tests.serve.parked granian 10000`` parks 10,000 queries; with ``reads`` as a further
argument, a client also makes plain reads without pause while a change wakes them. The server runs
in a separate process, started as docs/servers.md says; the client is one thread of this process,
with a connection for each query. Latencies are those of a plain read over one connection.
"""

from __future__ import annotations

import http.client
import json
import resource
import selectors
import socket
import statistics
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from tests.ports import reserved_port
from tests.processes import machine
from tests.promises import eventually

BIN = Path(sys.executable).parent
PLUGINS = 12
NODE = "/v1/node/11111111-2222-3333-4444-555555555555"
SECRET = {"X-Plugind-Node-Secret": "a secret of the first node's agent"}
MEBIBYTE = 2**20
_AT_ONCE = 200  # connections to open before checking that their queries wait


@dataclass
class Measured:
    """Measurements: seconds of elapsed time and of the worker's processor time, mebibytes of its
    resident memory, and the median and 99th percentile of plain reads in milliseconds."""

    count: int
    size: int
    memory_before: float
    memory_parked: float
    memory_after: float
    threads: int
    wake: float
    wake_cpu: float
    idle_ms: tuple[float, float]
    parked_ms: tuple[float, float]
    waking_ms: tuple[float, float] | None


class Plain:
    """Plain requests over one connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[float, bytes]:
        """Return the milliseconds and the body of an answer."""
        data = None if body is None else json.dumps(body).encode()
        began = time.perf_counter()
        self._connection.request(method, path, data, SECRET)
        content = self._connection.getresponse().read()
        return (time.perf_counter() - began) * 1000, content

    def latencies(self, count: int) -> tuple[float, float]:
        """Return the median and the 99th percentile of a series of reads, in milliseconds."""
        return _of([self.ask("GET", "/v1/plugin/csi/plugin-0")[0] for _ in range(count)])

    def close(self) -> None:
        self._connection.close()


def _of(values: list[float]) -> tuple[float, float]:
    return statistics.median(values), sorted(values)[int(len(values) * 0.99)]


def report(healthy: bool) -> dict[str, Any]:
    plugins = {
        f"plugin-{n}": {"node": {"Healthy": healthy, "HealthDescription": "x"}}
        for n in range(PLUGINS)
    }
    return {"Name": "vm1", "Plugins": {"csi": plugins}}


def command(kind: str, port: int, count: int) -> list[str]:
    """Return the options of a server's command."""
    if kind == "uvicorn":
        options = ["--no-proxy-headers", "--no-access-log", "--log-level", "warning"]
        return [*options, "--backlog", str(count + 2000), "--port", str(port), "plugind.asgi:app"]
    places = str(count + 2000)
    options = ["--interface", "asgi", "--http", "1", "--backpressure", places, "--backlog", places]
    return [*options, "--host", "127.0.0.1", "--port", str(port), "plugind.asgi:app"]


def measure(folder: Path, kind: str, count: int, *, reads: bool = False) -> Measured:
    """Return measurements of ``count`` queries that are parked on a server and then woken."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with ExitStack() as until_end:
        made = until_end.enter_context(machine(folder))
        port = until_end.enter_context(reserved_port())
        file = folder / "server.hcl"
        file.write_text(
            f'data_dir = "{folder}/data"\nlog_level = "WARN"\n'
            f'server {{\n  enabled = true\n  max_parked = {count}\n  heartbeat_ttl = "1h"\n}}\n'
        )
        environ = {"PLUGIND_CONFIG": str(file)}
        server = made.start(*command(kind, port, count), environ=environ, program=BIN / kind)
        until_end.callback(server.stop)  # this ends granian's worker, too
        eventually(lambda: _listens(port), what=lambda: server.logged)
        process = psutil.Process(server.children[0] if kind == "granian" else server.pid)
        plain = Plain(port)
        until_end.callback(plain.close)
        index = json.loads(plain.ask("PUT", NODE, report(True))[1])["Index"]
        size = len(plain.ask("GET", "/v1/plugins?type=csi")[1])
        idle, before = plain.latencies(500), process.memory_info().rss / MEBIBYTE
        socks = _park(until_end, port, plain, count, index)
        parked, memory = plain.latencies(500), process.memory_info().rss / MEBIBYTE
        threads = process.num_threads()
        before_wake = sum(process.cpu_times()[:2])
        wake, waking = _wake(plain, Plain(port) if reads else None, socks, size)
        cpu = sum(process.cpu_times()[:2]) - before_wake
        after = process.memory_info().rss / MEBIBYTE
        return Measured(
            count,
            size,
            before,
            memory,
            after,
            threads,
            wake,
            cpu,
            idle,
            parked,
            _of(waking) if waking else None,
        )


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _park(
    until_end: ExitStack, port: int, plain: Plain, count: int, index: int
) -> list[socket.socket]:
    """Return the connections of parked queries."""
    query = f"GET /v1/plugins?type=csi&index={index}&wait=10m HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    socks: list[socket.socket] = []
    while len(socks) < count:
        for _ in range(min(_AT_ONCE, count - len(socks))):
            sock = until_end.enter_context(socket.create_connection(("127.0.0.1", port), 60))
            sock.sendall(query)
            sock.setblocking(False)
            socks.append(sock)
        eventually(lambda: _parked(plain) == len(socks))
    return socks


def _parked(plain: Plain) -> int:
    text = plain.ask("GET", "/v1/metrics?format=prometheus")[1].decode()
    (line,) = [each for each in text.splitlines() if each.startswith("plugind_parked_queries ")]
    return int(float(line.partition(" ")[2]))


def _wake(
    plain: Plain, other: Plain | None, socks: list[socket.socket], size: int
) -> tuple[float, list[float]]:
    """Change the list; return the seconds from the report's acknowledgement until the last answer,
    and the milliseconds of the plain reads that the ``other`` client, if any, made meanwhile."""
    took: list[float] = []
    is_over = threading.Event()

    def ask() -> None:
        while other and not is_over.is_set():
            took.append(other.ask("GET", "/v1/plugin/csi/plugin-0")[0])

    with selectors.EpollSelector() as selector:
        for sock in socks:
            selector.register(sock, selectors.EVENT_READ, [b""])
        asking = threading.Thread(target=ask)
        asking.start()
        try:
            plain.ask("PUT", NODE, report(False))
            began = time.perf_counter()
            left = len(socks)
            while left:
                for key, _ in selector.select(60):
                    assert isinstance(key.fileobj, socket.socket)
                    key.data[0] += key.fileobj.recv(2**16)
                    if _is_whole(key.data[0], size):
                        selector.unregister(key.fileobj)
                        left -= 1
            return time.perf_counter() - began, took
        finally:
            is_over.set()
            asking.join()
            if other:
                other.close()


def _is_whole(answer: bytes, size: int) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    return bool(found) and len(body) >= size and b" 200 " in head[:16]


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        kind, count, *more = sys.argv[1:]
        print(measure(Path(name), kind, int(count), reads=more == ["reads"]))
