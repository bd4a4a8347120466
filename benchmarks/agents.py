"""The cost of an agent while its drivers are healthy, compared with a bare loop of probes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from benchmarks.context import Context, config
from benchmarks.results import MEBIBYTES, NO_REACH, PERCENT, Reach, Row
from benchmarks.servers import PATIENCE, Front, Server, ask, plugind, started

_WINDOW = 3  # seconds for each second of a figure's run, to cover a few rounds of probes


@dataclass(frozen=True)
class AgentLoad:
    """The processor time and the memory of an agent with ``drivers`` drivers, prober included."""

    name: str
    what: str
    drivers: int
    fronts: tuple[Front, ...]
    reaches: Mapping[str, Reach] = field(default_factory=dict)
    is_long: bool = False

    @property
    def order(self) -> str:
        return self.name

    def measure(self, context: Context, front: Front) -> list[Row]:
        folder = context.new_folder()
        python = sys.executable
        with ExitStack() as until_end:
            enter = until_end.enter_context
            server = enter(plugind(context.new_folder(), config(), front))
            command = [python, "-m", "benchmarks.drivers", str(folder), str(self.drivers)]
            enter(started(command, 0, folder / "drivers.log"))
            agent = enter(_agent(context, server, f"{folder}/*.sock"))
            _await_healthy(server, self.drivers)
            command = [python, "-m", "benchmarks.bare.prober", str(folder)]
            bare = enter(started(command, 0, folder / "bare.log"))
            time.sleep(_WINDOW)
            shares = [_shares(bare, agent, context.seconds * _WINDOW) for _ in range(context.runs)]
            memory = bare.memory(), agent.memory()
        return [
            self._row("processor", PERCENT, front, shares),
            self._row("memory", MEBIBYTES, front, [memory]),
        ]

    def _row(self, part: str, unit: str, front: Front, pairs: list[tuple[float, float]]) -> Row:
        return Row(
            figure=self.name,
            part=part,
            what=f"{self.what}: {part}",
            server=f"agent, server on {front.name}",
            unit=unit,
            values=[other for _, other in pairs],
            yardstick="a bare loop",
            yardsticks=[one for one, _ in pairs],
            reach=self.reaches.get(part, NO_REACH),
            notes=["of one core"] if unit == PERCENT else (),
        )


def _agent(context: Context, server: Server, sockets: str) -> AbstractContextManager[Server]:
    folder = context.new_folder()
    options = {
        "--client-enabled": "true",
        "--client-servers": server.url,
        "--name": "vm1",
        "--data-dir": str(folder),
        "--plugin-types-enabled": "csi",
    }
    command = [sys.executable, "-m", "plugind", "agent"]
    command += [word for pair in options.items() for word in pair]
    environ = {"PLUGIND_PLUGIN_TYPE_CSI_SOCKETS": sockets, "PLUGIND_LOG_LEVEL": "WARN"}
    return started(command, 0, folder / "agent.log", environ)


def _await_healthy(server: Server, count: int) -> None:
    """Wait until that number of plugins is shown as healthy."""
    deadline = time.monotonic() + PATIENCE
    healthy = 0
    while healthy < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{healthy} of {count} drivers are healthy")
        time.sleep(0.1)
        rows = json.loads(ask(server.port, "/v1/plugins?type=csi").body)
        healthy = sum(bool(row["NodesHealthy"]) for row in rows)


def _shares(bare: Server, agent: Server, seconds: int) -> tuple[float, float]:
    """Return the percentage of a core that each of the two used over the same ``seconds``."""
    before, began = (bare.cpu(), agent.cpu()), time.monotonic()
    time.sleep(seconds)
    after, took = (bare.cpu(), agent.cpu()), time.monotonic() - began
    one, other = ((last - first) / took * 100 for first, last in zip(before, after, strict=True))
    return one, other
