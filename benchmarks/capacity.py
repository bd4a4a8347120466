"""Compare a large fleet with one a hundredth of its size: start, memory, cost of a change."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection

from benchmarks.context import Context, config
from benchmarks.fleets import FINGERPRINT, SECRET, Fleet, node_id, report
from benchmarks.results import KIBIBYTES, MEBIBYTES, MILLISECONDS, NO_REACH, SECONDS, Reach, Row
from benchmarks.servers import PATIENCE, Front, Server, ask, plugind

FIRST = ("/v1/plugins?type=csi", "/v1/nodes", "/v1/plugin/csi/plugin-00000")
"""The requests that must be answered before a start counts as complete."""

_CHANGES = 50


@dataclass(frozen=True)
class Seen:
    """The results of one run of a server.

    ``start`` is the seconds from the start of the process until all of ``FIRST`` are answered,
    ``start_cpu`` the seconds of processor time until then, ``memory`` the MiB of memory at that
    moment, and ``change`` the milliseconds of processor time for one change.
    """

    start: float
    start_cpu: float
    memory: float
    change: float


@dataclass(frozen=True)
class Capacity:
    """A server with ``fleet``, compared with one with a ``small`` fleet.

    Both have the same number of plugins on each node.
    """

    name: str
    what: str
    fleet: Fleet
    small: Fleet
    fronts: tuple[Front, ...]
    reaches: Mapping[str, Reach] = field(default_factory=dict)
    is_long: bool = False

    @property
    def order(self) -> str:
        return self.name

    def measure(self, context: Context, front: Front) -> list[Row]:
        pairs = context.alternate(
            lambda: _life(context, self.small, front), lambda: _life(context, self.fleet, front)
        )
        return list(self._rows(front, [one for one, _ in pairs], [other for _, other in pairs]))

    def _rows(self, front: Front, small: list[Seen], large: list[Seen]) -> Iterator[Row]:
        parts: tuple[tuple[str, str, str, Callable[[Seen], float]], ...] = (
            ("start", "from the start to the first answers", SECONDS, lambda seen: seen.start),
            ("start_cpu", "processor time until then", SECONDS, lambda seen: seen.start_cpu),
            ("memory", "memory then", MEBIBYTES, lambda seen: seen.memory),
            ("change", "processor time of a change", MILLISECONDS, lambda seen: seen.change),
        )
        yardstick = f"{_instances(self.small):,} instances"
        for part, what, unit, of in parts:
            yield Row(
                figure=self.name,
                part=part,
                what=f"{self.what}: {what}",
                server=front.name,
                unit=unit,
                values=[of(seen) for seen in large],
                yardstick=yardstick,
                yardsticks=[of(seen) for seen in small],
                reach=self.reaches.get(part, NO_REACH),
            )
        more = _instances(self.fleet) - _instances(self.small)
        yield Row(
            figure=self.name,
            part="instance",
            what=f"{self.what}: memory for one more",
            server=front.name,
            unit=KIBIBYTES,
            values=[
                (one.memory - other.memory) * 1024 / more
                for one, other in zip(large, small, strict=True)
            ],
        )


def _instances(fleet: Fleet) -> int:
    return sum(len(fleet.plugins_on(node)) for node in range(fleet.nodes))


def _life(context: Context, fleet: Fleet, front: Front) -> Seen:
    folder = context.data(fleet)
    began = time.monotonic()
    with plugind(folder, config(), front) as server:
        for path in FIRST:
            if ask(server.port, path).status != 200:
                raise RuntimeError(f"{path} was not answered")
        start = time.monotonic() - began
        cpu, memory = server.cpu(), server.memory()
        return Seen(start, cpu, memory, _cost_of_change(server, fleet))


def _cost_of_change(server: Server, fleet: Fleet) -> float:
    """Return the milliseconds of processor time for a report that changes one instance."""
    path, headers = f"/v1/node/{node_id(0)}", {"X-Plugind-Node-Secret": SECRET}
    fingerprints = dict.fromkeys(fleet.plugins_on(0), FINGERPRINT)
    changed = list(fingerprints)[-1]
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
        before = 0.0
        for number in range(_CHANGES + 2):
            if number == 2:
                before = server.cpu()
            sick = {**FINGERPRINT, "Healthy": False, "HealthDescription": "connection refused"}
            fingerprints[changed] = FINGERPRINT if number % 2 else sick
            connection.request("PUT", path, json.dumps(report(0, fingerprints)), headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"a report was answered {answer.status}: {content[:300]!r}")
        return (server.cpu() - before) / _CHANGES * 1000
