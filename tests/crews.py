"""Servers of several worker processes for tests, and connections to a particular worker."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from plugind.client import Client
from tests.metrics.scrapes import families, values
from tests.processes import Machine, Process
from tests.promises import PATIENCE, eventually
from tests.support import Answer

SMALL = {
    "server_max_parked": "8",
    "server_max_streams": "2",
    "server_max_waiting_reads": "4",
    "server_max_reports": "8",
    "server_heartbeat_ttl": "1h",
}
"""Settings that give a worker few threads, and under which no node goes down."""


class Connection:
    """A connection to one worker, which makes all requests on it."""

    def __init__(self, address: str) -> None:
        self._http = http.client.HTTPConnection(address.partition("//")[2], timeout=PATIENCE)
        self._http.connect()
        assert self._http.sock is not None
        self.port = self._http.sock.getsockname()[1]

    def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a request, without waiting for the answer."""
        data = None if body is None else json.dumps(body).encode()
        self._http.request(method, path, data, dict(headers or {}))

    def receive(self) -> Answer:
        """Return the answer to the request that was sent."""
        got = self._http.getresponse()
        return Answer(got.status, {k.lower(): v for k, v in got.headers.items()}, got.read())

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        self.send(method, path, body, headers)
        return self.receive()

    def close(self) -> None:
        self._http.close()


@dataclass
class Crew:
    """A server of several workers, found by the parent's process."""

    process: Process
    client: Client
    opened: list[Connection] = field(default_factory=list)

    @property
    def workers(self) -> list[int]:
        return [each for each in sorted(self.process.children) if _is_worker(each)]

    def replaced(self, worker: int, count: int = 2) -> None:
        """Wait until a worker has ended and there are as many workers as before."""
        eventually(lambda: worker not in (now := self.workers) and len(now) == count)

    def connection(self, worker: int) -> Connection:
        """Return a connection that a given worker has accepted."""
        (made,) = self._connections([worker])
        return made

    def each(self) -> list[Connection]:
        """Return a connection to each of the workers, in the order of their processes."""
        return self._connections(self.workers)

    def _connections(self, workers: list[int]) -> list[Connection]:
        """Return a connection to each of these workers: open new ones until each worker has
        accepted one."""
        found: dict[int, Connection] = {}
        deadline = time.monotonic() + PATIENCE
        while len(found) < len(workers):
            assert time.monotonic() < deadline, f"of {workers} only {found.keys()} accept"
            made = Connection(self.client.address)
            self.opened.append(made)
            made.call("GET", "/v1/status/leader")  # by then a worker has accepted it
            for worker in workers:
                if _has(worker, made.port):
                    found.setdefault(worker, made)
        return [found[worker] for worker in workers]

    def close(self) -> None:
        for each in self.opened:
            each.close()


def _has(worker: int, port: int) -> bool:
    """Return whether a worker has the connection from a port of this process."""
    with suppress(psutil.NoSuchProcess):
        found = psutil.Process(worker).net_connections("tcp")
        return any(each.raddr and each.raddr.port == port for each in found)
    return False


def _is_worker(process: int) -> bool:
    """Return whether a child is a worker, and not a prober of the client role."""
    with suppress(psutil.NoSuchProcess):
        return "plugind.cli.worker" in psutil.Process(process).cmdline()
    return False


def crew(here: Machine, workers: int = 2, name: str = "server", **settings: str) -> Crew:
    """Start a server of several workers with data of its own."""
    process, client = here.server(name, server_workers=str(workers), **{**SMALL, **settings})
    made = Crew(process, client)
    here.places.callback(made.close)
    return made


def health(connection: Connection, headers: Mapping[str, str] | None = None) -> tuple[bool, str]:
    """Return whether the server is well, and its details."""
    found = connection.call("GET", "/v1/agent/health", headers=headers).json["server"]
    return found["ok"], found["message"]


def counted(connection: Connection, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric by the given labels; name a counter without ``_total``."""
    answer = connection.call("GET", "/v1/metrics?format=prometheus")
    assert answer.status == 200
    return values(families(answer)[name], *labels)
