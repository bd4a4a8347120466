"""Several servers on one store as one Api, each in its own process: every request goes to the next
server in turn, so data accepted by one is read from another."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.managers import BaseManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from plugind.testing.serving import live_server
from tests.support import Answer, Live


class Host:
    """Runs a server that shares its store."""

    def __init__(self, config: str, data_dir: Path, flags: Mapping[str, str]) -> None:
        self._running = ExitStack()
        self._server = self._running.enter_context(
            live_server(config, data_dir=data_dir, shared=True, **flags)
        )

    def address(self) -> str:
        return self._server.address

    def parked(self) -> int:
        return self._server.services.catalogue.parked

    def wake(self) -> None:
        self._server.services.wake()

    def stop(self) -> None:
        self._running.close()


class HostProcess(BaseManager):
    """A process in which ``host`` creates a Host."""

    host: Any


HostProcess.register("host", Host)


@contextmanager
def host_processes(number: int) -> Iterator[list[HostProcess]]:
    """Run processes for that number of servers."""
    with ExitStack() as until_end:
        found = [HostProcess(ctx=multiprocessing.get_context("spawn")) for _ in range(number)]
        for each in found:
            each.start()
            until_end.callback(each.shutdown)
        yield found


@dataclass
class Catalogues:
    """The parts of a catalogue that tests use, combined over all servers."""

    hosts: Sequence[Any]

    @property
    def parked(self) -> int:
        return sum(each.parked() for each in self.hosts)


@dataclass
class Several:
    """Servers that answer in turn. ``services`` has the parts of a server that tests use."""

    services: Any
    servers: Sequence[Live]
    _turn: Iterator[Live] = field(init=False)

    def __post_init__(self) -> None:
        self._turn = itertools.cycle(self.servers)

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return next(self._turn).call(method, path, body, headers)


@contextmanager
def several(
    processes: Sequence[HostProcess], places: Sequence[tuple[str, Path]], **flags: str
) -> Iterator[Several]:
    """Serve in each process, each with its own configuration and data directory."""
    with ExitStack() as until_end:
        hosts = []
        for process, place in zip(processes, places, strict=True):
            hosts.append(process.host(*place, {"server_heartbeat_ttl": "1h", **flags}))
            until_end.callback(hosts[-1].stop)
        services: Any = SimpleNamespace(
            catalogue=Catalogues(hosts),
            store=SimpleNamespace(has_other_servers="etcd" in places[0][0]),
            wake=lambda: [each.wake() for each in hosts],
        )
        yield Several(services, [Live(services, each.address()) for each in hosts])
