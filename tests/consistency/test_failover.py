"""A real agent and a driver in front of two servers on one store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from plugind.client import Client
from tests.consistency.rigs import KILL, STALL, Rig, Target, processes
from tests.processes import Process, counts, machine
from tests.promises import Watch, eventually, is_longer, promised

TTL = 6.0
"""Seconds; long enough to hear from a node in time, however busy the machine is."""

DEFAULT_TTL = 30.0
WELL, ILL = (1, 1, 1, 1), (0, 1, 0, 1)


@dataclass
class Fleet:
    """Two servers, clients of both, an agent that reports to the first, and its driver."""

    targets: dict[str, Target]
    clients: list[Client]
    driver: Process

    def downs(self, number: int) -> list[str]:
        """Return the times at which a node went down, according to a server's history."""
        rows = self.clients[number].history().value
        return [row["Time"] for row in rows if row["Event"] == "down" and not row["Type"]]


@contextmanager
def fleet(folder: Path, rig: Rig) -> Iterator[Fleet]:
    """Run a fleet on the servers; yield it once the first two show the driver as healthy."""
    folder.mkdir(exist_ok=True)
    with machine(folder) as made, ExitStack() as opened:
        clients = [
            opened.enter_context(Client(f"http://{each.address}")) for each in rig.servers[:2]
        ]
        driver = made.driver("vm/ebs0.sock")
        made.agent("vm", ",".join(each.address for each in clients))
        for client in clients:
            eventually(lambda client=client: counts(client, "ebs0") == WELL)
        yield Fleet({each.name: each for each in rig.targets}, clients, driver)


@contextmanager
def two_servers(folder: Path, ttl: float = TTL) -> Iterator[Fleet]:
    """Run a fleet on two servers with one SQLite database."""
    (folder / "data").mkdir()
    with processes(folder / "data", 2, ttl=f"{ttl:g}s") as rig, fleet(folder, rig) as found:
        yield found


def fails_over(found: Fleet) -> None:
    """Kill the server that the agent reports to: the node stays up, and reports still arrive."""
    first = found.targets["server s0"]
    first.break_(KILL)
    other, until = found.clients[1], time.monotonic() + 1.4 * TTL
    while time.monotonic() < until:
        assert counts(other, "ebs0") == WELL
        time.sleep(0.1)
    found.driver.kill()
    with promised(5):
        eventually(lambda: counts(other, "ebs0") == ILL)
    assert found.downs(1) == []
    first.mend(KILL)
    assert counts(found.clients[0], "ebs0") == ILL
    assert found.downs(0) == []


def see_it_together(found: Fleet) -> None:
    """Kill the driver: two servers show it within a second of each other."""
    watch = Watch()

    def sees(client: Client) -> float:
        index = client.plugin("csi", "ebs0").index
        while counts(client, "ebs0") != ILL:
            index = client.plugin("csi", "ebs0", index=index).index
        return time.monotonic()

    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(sees, each) for each in found.clients]
        with promised(5):
            found.driver.kill()
            first, second = (each.result() for each in waiting)
    apart = abs(first - second)
    print(f"{apart * 1e3:.1f} ms apart")
    assert not is_longer(apart, watch.read()[1], 1.0)


@pytest.mark.alone
def test_a_node_whose_server_dies_fails_over_without_showing_as_down(tmp_path: Path) -> None:
    with two_servers(tmp_path) as found:
        fails_over(found)


@pytest.mark.alone
def test_two_servers_see_the_same_driver_die_within_a_second(tmp_path: Path) -> None:
    with two_servers(tmp_path) as found:
        see_it_together(found)


@pytest.mark.soak
def test_a_node_whose_server_hangs_fails_over_without_showing_as_down(tmp_path: Path) -> None:
    """Let nothing come over the link, not even a reset, for longer than the time to live."""
    with two_servers(tmp_path, DEFAULT_TTL) as found:
        link = found.targets["link to s0"]
        link.break_(STALL)
        until = time.monotonic() + 1.3 * DEFAULT_TTL
        while time.monotonic() < until:
            assert counts(found.clients[1], "ebs0") == WELL
            time.sleep(0.5)
        assert found.downs(1) == []
        link.mend(STALL)
