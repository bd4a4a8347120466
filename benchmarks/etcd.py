"""The same figures on etcd, if it is installed: one member, on this machine's disk."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import fleets
from benchmarks.context import Context, config
from benchmarks.fleets import Fleet
from benchmarks.load import Load, wrk
from benchmarks.reads import Read
from benchmarks.results import Reach, Row
from benchmarks.servers import Front, Server, plugind, port, ready, started
from benchmarks.writes import CONNECTIONS, reports, row_of, writing

_PUT = {"key": base64.b64encode(b"benchmarks").decode()}


@dataclass(frozen=True)
class EtcdReads:
    """The rates of reads of a fleet stored in etcd, compared with bare functions."""

    name: str
    what: str
    reads: tuple[Read, ...]
    fronts: tuple[Front, ...]
    is_long: bool = False

    @property
    def order(self) -> str:
        return self.name

    def measure(self, context: Context, front: Front) -> list[Row]:
        with _serving(context, self.reads[0].fleet, front) as found:
            if found is None:
                return []
            server = found[0]
            return [row for read in self.reads for row in read.beside(context, server, front)]


@dataclass(frozen=True)
class EtcdReports:
    """The rate of reports into etcd, compared with plain puts of a body of the same size."""

    name: str
    what: str
    fleet: Fleet
    fronts: tuple[Front, ...]
    reaches: Mapping[str, Reach] = field(default_factory=dict)
    is_long: bool = False

    @property
    def order(self) -> str:
        return self.name

    def measure(self, context: Context, front: Front) -> list[Row]:
        with _serving(context, self.fleet, front) as found:
            if found is None:
                return []
            server, etcd, folder = found
            put = writing(context, server, self.fleet, folder, reports())
            pairs = context.alternate(lambda: _puts(context, etcd, folder), put)
        return [row_of(self, front, "puts", pairs)]


@contextmanager
def _serving(
    context: Context, fleet: Fleet, front: Front
) -> Iterator[tuple[Server, Server, Path] | None]:
    """Serve a fleet from a new etcd; yield plugind, etcd, and the folder of plugind's data.

    Yield None if etcd is not installed.
    """
    if shutil.which("etcd") is None:
        context.say("left out: etcd is missing (apt-get install etcd-server)")
        yield None
        return
    with ExitStack() as until_end:
        etcd = until_end.enter_context(_etcd(context.new_folder()))
        block = f'store "etcd" {{\n  endpoints = ["127.0.0.1:{etcd.port}"]\n}}\n'
        folder, text = context.new_folder(), config() + block
        context.say(f"writing a fleet into etcd: {fleet.name}")
        fleets.fill(folder, fleet, text)
        yield until_end.enter_context(plugind(folder, text, front)), etcd, folder


@contextmanager
def _etcd(folder: Path) -> Iterator[Server]:
    with port() as clients, port() as peers:
        client, peer = (f"http://127.0.0.1:{number}" for number in (clients, peers))
        options = {
            "--data-dir": str(folder / "etcd"),
            "--listen-client-urls": client,
            "--advertise-client-urls": client,
            "--listen-peer-urls": peer,
            "--initial-advertise-peer-urls": peer,
            "--initial-cluster": f"default={peer}",
        }
        command = ["etcd", *(word for pair in options.items() for word in pair)]
        with started(command, clients, folder / "etcd.log") as server:
            ready(server)
            time.sleep(1)  # etcd answers before it has a leader
            yield server


def _puts(context: Context, etcd: Server, folder: Path) -> Load:
    """Load etcd with puts of a report's body for the seconds of a run."""
    body = reports()[0].partition(b"\r\n\r\n")[2]
    file = folder / "put"
    file.write_text(json.dumps({**_PUT, "value": base64.b64encode(body).decode()}))
    return wrk(
        etcd,
        seconds=context.seconds,
        connections=CONNECTIONS,
        script="puts",
        arguments=[str(file)],
    )
