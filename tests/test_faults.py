"""After any fault, the answers eventually match the state of the machine."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path
from random import Random

import pytest

from tests.fleet import Fleet
from tests.processes import counts, machine
from tests.promises import promised
from tests.support import eventually

SEED = 5
ROUNDS = 6
SOAK = 300.0  # seconds
WELL, ILL = (1, 1, 1, 1), (0, 1, 0, 1)


def test_random_faults(tmp_path: Path) -> None:
    with machine(tmp_path) as made:
        fleet = Fleet(made, Random(SEED))
        for _ in range(ROUNDS):
            fleet.round()


@pytest.mark.soak
@pytest.mark.timeout(2 * SOAK)
def test_random_faults_for_minutes(tmp_path: Path) -> None:
    until = time.monotonic() + SOAK
    seed = time.time_ns() % 2**32
    print(f"seed {seed}")
    with machine(tmp_path) as made:
        fleet = Fleet(made, Random(seed))
        while time.monotonic() < until:
            fleet.round()


@pytest.mark.alone
def test_promises_with_ten_drivers_beside(tmp_path: Path) -> None:
    """Check that on default settings a kill shows within 1 s, a hang and a return within 5 s."""
    others = [f"other{n}" for n in range(10)]
    with machine(tmp_path) as made:
        _, client = made.server()
        made.agent("vm", client.address)
        beside = made.drivers(*[f"vm/{id_}.sock" for id_ in others])
        driver = made.driver("vm/ebs0.sock")
        eventually(lambda: all(counts(client, id_) == WELL for id_ in [*others, "ebs0"]))

        def becomes(id_: str, what: tuple[int, ...], within: float) -> None:
            with promised(within):
                eventually(lambda: counts(client, id_) == what)

        driver.send(signal.SIGSTOP)
        becomes("ebs0", ILL, within=5)
        driver.send(signal.SIGCONT)
        becomes("ebs0", WELL, within=5)
        driver.kill()
        becomes("ebs0", ILL, within=1)
        assert all(counts(client, id_) == WELL for id_ in others)
        driver = made.driver("vm/ebs0.sock")
        becomes("ebs0", WELL, within=5)

        for other in beside:
            other.send(signal.SIGSTOP)
        with promised(5):
            driver.kill()
            becomes("ebs0", ILL, within=1)
            eventually(lambda: all(counts(client, id_) == ILL for id_ in others))


def test_a_clone_is_reported_until_it_is_gone(tmp_path: Path) -> None:
    with machine(tmp_path) as made:
        _, client = made.server(server_heartbeat_ttl="1s")
        made.driver("vm/ebs0.sock")
        first = made.agent("vm", client.address)
        eventually(lambda: counts(client, "ebs0") == WELL)
        (tmp_path / "sockets/copy").mkdir()
        shutil.copytree(tmp_path / "agent-vm", tmp_path / "agent-copy", ignore=_locks)
        clone = made.agent("copy", client.address)
        eventually(lambda: "two agents" in client.health().value["server"]["message"])
        (node,) = client.nodes().value
        assert "two agents" in node["StatusDescription"]
        clone.kill()
        eventually(lambda: counts(client, "ebs0") == WELL)
        eventually(lambda: client.health().value["server"]["message"] == "ok")
        assert first.popen.poll() is None


def test_an_agent_that_lost_its_data_is_a_new_node_beside_the_one_that_is_down(
    tmp_path: Path,
) -> None:
    with machine(tmp_path) as made:
        _, client = made.server(server_heartbeat_ttl="1s")
        made.driver("vm/ebs0.sock")
        agent = made.agent("vm", client.address)
        eventually(lambda: counts(client, "ebs0") == WELL)
        agent.kill()
        shutil.rmtree(tmp_path / "agent-vm")
        made.agent("vm", client.address)
        eventually(lambda: counts(client, "ebs0") == (1, 2, 1, 2))
        states = sorted(node["Status"] for node in client.nodes().value)
        assert states == ["down", "ready"]


def _locks(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.endswith(".lock")]
