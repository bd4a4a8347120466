"""Rates of reports and heartbeats of many nodes.

Each report has ten plugins, and one of them has changed its health, so each report is a change
that is committed, shown and kept as history. Heartbeats change nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.context import Context, config
from benchmarks.fleets import (
    DIGESTS,
    FINGERPRINT,
    SECRET,
    Fleet,
    node_id,
    node_name,
    plugin,
    report,
)
from benchmarks.load import Load, wrk
from benchmarks.results import NO_REACH, RATE, Reach, Row
from benchmarks.servers import Front, Server, ask, bare, plugind

PLUGINS = 10
BARE, REPORTS, FEW = "a bare insert", "reports", "100 nodes"
CONNECTIONS = 32
_NODES_EACH = 3  # a node may have one report in progress, so few nodes can use only few connections
_PROBES = {"csi": {"Count": 123456, "Failures": 12, "Time": 123456789012}}
_RUN = "5f0b6a2e-6c1d-4a55-9d5e-0d6f8f6f9f00"


@dataclass(frozen=True)
class Writes:
    """The rate of reports, or of ``heartbeats``, of a fleet with ten plugins on each node.

    The yardstick of heartbeats is the reports of the same fleet. The yardstick of reports is a bare
    insert for each, or the reports of the fleet ``beside``.
    """

    name: str
    what: str
    fleet: Fleet
    fronts: tuple[Front, ...]
    reaches: Mapping[str, Reach] = field(default_factory=dict)
    heartbeats: bool = False
    beside: Fleet | None = None
    is_long: bool = False

    @property
    def order(self) -> str:
        return f"writes {self.fleet.name}"

    def measure(self, context: Context, front: Front) -> list[Row]:
        with ExitStack() as until_end:
            enter = until_end.enter_context
            if self.heartbeats:
                yardstick, one = REPORTS, enter(reporting(context, self.fleet, front))
            elif self.beside is not None:
                yardstick, one = FEW, enter(reporting(context, self.beside, front))
            else:
                yardstick, one = BARE, enter(_inserting(context, self.fleet, front))
            other = enter(reporting(context, self.fleet, front, heartbeats=self.heartbeats))
            one(), other()  # the first runs have cold caches
            pairs = context.alternate(one, other)
        return [row_of(self, front, yardstick, pairs)]


def row_of(figure: Any, front: Front, yardstick: str, pairs: Sequence[tuple[Load, Load]]) -> Row:
    """Return the row of a figure from pairs of (yardstick, plugind) loads."""
    refused = sum(load.refused for _, load in pairs)
    return Row(
        figure=figure.name,
        part="rate",
        what=figure.what,
        server=front.name,
        unit=RATE,
        values=[load.rate for _, load in pairs],
        yardstick=yardstick,
        yardsticks=[load.rate for load, _ in pairs],
        reach=figure.reaches.get(front.key, NO_REACH),
        cpu=median(load.cpu for _, load in pairs),
        yardstick_cpu=median(load.cpu for load, _ in pairs),
        notes=[f"{refused} refused"] if refused else (),
    )


@contextmanager
def reporting(
    context: Context, fleet: Fleet, front: Front, *, heartbeats: bool = False
) -> Iterator[Callable[[], Load]]:
    """Serve a fleet with plugind; yield a function that loads the server with its nodes' writes."""
    folder = context.data(fleet)
    with plugind(folder, config(), front) as server:
        requests = [heartbeat(_rights(server))] if heartbeats else reports()
        yield writing(context, server, fleet, folder, requests)


@contextmanager
def _inserting(context: Context, fleet: Fleet, front: Front) -> Iterator[Callable[[], Load]]:
    folder = context.data(fleet)
    environ = {"BENCHMARKS_DB": str(folder / "bare.db")}
    with bare("report", front, folder, environ) as server:
        yield writing(context, server, fleet, folder, reports())


def writing(
    context: Context, server: Server, fleet: Fleet, folder: Path, requests: Sequence[bytes]
) -> Callable[[], Load]:
    """Return a function that loads a server with requests of a fleet's nodes, round by round."""
    nodes = folder / "nodes"
    digests = json.loads((folder / DIGESTS).read_text())
    lines = (f"{node_id(n)} {node_name(n)} {digest}\n" for n, digest in enumerate(digests))
    nodes.write_text("".join(lines))
    for number, request in enumerate(requests):
        (folder / str(number)).write_bytes(request)
    rounds = count(0)

    def load() -> Load:
        first = next(rounds)
        arguments = (str(nodes), str(folder), str(len(requests)), str(first))
        done = wrk(
            server,
            seconds=context.seconds,
            connections=max(min(CONNECTIONS, fleet.nodes // _NODES_EACH), 1),
            script="nodes",
            arguments=arguments,
        )
        for _ in range(round(done.rate * context.seconds) // fleet.nodes):
            next(rounds)
        return done

    return load


def reports() -> list[bytes]:
    """Return the requests of a cycle of rounds. In each round one more plugin is unhealthy, until
    all are; then in each round one fewer is."""
    found = []
    for number in range(2 * PLUGINS):
        first, last = max(number + 1 - PLUGINS, 0), min(number + 1, PLUGINS)
        fingerprints = {
            plugin(each): _fingerprint(healthy=not first <= each < last) for each in range(PLUGINS)
        }
        body = json.dumps({**report(0, fingerprints), "RunID": _RUN, "Probes": _PROBES})
        found.append(_put("/v1/node/@ID@", body))
    return found


def _fingerprint(*, healthy: bool) -> dict[str, Any]:
    if healthy:
        return FINGERPRINT
    return {**FINGERPRINT, "Healthy": False, "HealthDescription": "Probe failed: UNAVAILABLE"}


def _rights(server: Server) -> str:
    """Return the part that a server adds to its digests, which stands for the agent's rights."""
    body = json.dumps(report(0, dict.fromkeys(map(plugin, range(PLUGINS)), FINGERPRINT)))
    headers = {"X-Plugind-Node-Secret": SECRET}
    answer = ask(server.port, f"/v1/node/{node_id(0)}", headers, "PUT", body.encode())
    return str(json.loads(answer.body)["Digest"].partition(".")[2])


def heartbeat(rights: str) -> bytes:
    """Return the request of a heartbeat."""
    body = {"Digest": f"@DIGEST@.{rights}", "RunID": _RUN, "Probes": _PROBES}
    return _put("/v1/node/@ID@/heartbeat", json.dumps(body))


def _put(path: str, body: str) -> bytes:
    """Return a request with placeholders for a node's ID, name and digest."""
    length = len(body.replace("@DIGEST@", "0" * 32).encode())
    head = (
        f"PUT {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"X-Plugind-Node-Secret: {SECRET}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    )
    return "\r\n".join((*head, "", body.replace(node_name(0), "@NAME@"))).encode()
