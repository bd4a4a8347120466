"""Agents as real processes: signals, reloads, and servers that are away."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.agent.fake_server import FakeServer
from tests.processes import Machine, counts, instance, machine
from tests.support import eventually


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def test_a_node_that_leaves_takes_its_instances_along(here: Machine) -> None:
    _, client = here.server()
    agent = here.agent("vm", client.address, client_leave_on_terminate="true")
    here.driver("vm/nfs.sock", "--no-controller")
    eventually(lambda: counts(client, "nfs") == (0, 0, 1, 1))
    assert agent.stop() == 0
    assert counts(client, "nfs") is None
    assert client.nodes().value == []
    assert "the node has left" in agent.logged


@pytest.mark.alone
def test_slow_answers_are_one_change_and_a_failure_that_is_allowed_another(here: Machine) -> None:
    _, client = here.server()
    here.agent(
        *("vm", client.address),
        plugin_type_csi_probe_interval="100ms",
        plugin_type_csi_probe_timeout="800ms",
        plugin_type_csi_unhealthy_after="1000",
    )
    here.driver("vm/nfs.sock", "--no-controller")
    eventually(lambda: counts(client, "nfs") == (0, 0, 1, 1))
    index = client.plugin("csi", "nfs").index

    here.send("vm/nfs.sock", "slow", "500ms")
    slow = client.plugin("csi", "nfs", index=index)
    (shown,) = slow.value["Nodes"].values()
    assert shown["HealthDescription"].startswith("healthy; slow: answers take ")
    assert client.plugin("csi", "nfs", index=slow.index, wait=1.2).index == slow.index

    here.send("vm/nfs.sock", "ok")
    brisk = client.plugin("csi", "nfs", index=slow.index)
    assert instance(client, "nfs")["HealthDescription"] == "healthy"

    here.send("vm/nfs.sock", "fail", "disk on fire")
    doubt = client.plugin("csi", "nfs", index=brisk.index)
    assert instance(client, "nfs")["HealthDescription"] == (
        "healthy; probes fail, but fewer than 1000 in a row: "
        "Probe failed: FAILED_PRECONDITION: disk on fire"
    )
    assert client.plugin("csi", "nfs", index=doubt.index, wait=0.5).index == doubt.index
    assert counts(client, "nfs") == (0, 0, 1, 1)


def test_a_server_that_was_away_gets_the_latest_state_once(here: Machine) -> None:
    port = here.port()
    with closing(FakeServer(port)) as fake_server:
        here.agent("vm", fake_server.address, plugin_type_csi_probe_interval="50ms")
        here.driver("vm/nfs.sock", "--no-controller")
        eventually(lambda: fake_server.reports and fake_server.reports[-1]["Plugins"])
    for word in ("not-ready", "ok", "not-ready", "ok", "fail the last word"):
        here.send("vm/nfs.sock", *word.split())
    with closing(FakeServer(port)) as back:
        back.ttl = 300_000_000
        eventually(lambda: "the last word" in str(back.reports[-1:]))
        eventually(lambda: len(back.beats) > 2)
        assert len(back.reports) <= 2, "one, or two if the last word was not heard yet"


@pytest.mark.alone
def test_agents_that_were_stopped_report_the_true_state_in_the_end(here: Machine) -> None:
    """Check that stopped agents report the true state once they resume, prober stopped or not."""
    _, client = here.server(server_heartbeat_ttl="1s")
    agents = {name: here.agent(name, client.address) for name in ("one", "two")}
    for name in agents:
        here.driver(f"{name}/well.sock", "--no-controller")
    dies = [here.driver(f"{name}/dies.sock", "--no-controller") for name in agents]
    eventually(lambda: counts(client, "well") == counts(client, "dies") == (0, 0, 2, 2))
    probers = {name: agent.children for name, agent in agents.items()}
    stopped = [agent.pid for agent in agents.values()] + probers["two"]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    eventually(lambda: counts(client, "well") == (0, 0, 0, 2))
    assert "nothing heard of node" in str(client.plugin("csi", "well").value)
    for driver in dies:
        driver.kill()
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)

    def refused() -> int:  # not in the whole body: allocations contain the word, too
        return str(client.plugin("csi", "dies").value["Nodes"]).count("refused")

    eventually(lambda: refused() == 2)
    eventually(lambda: counts(client, "well") == (0, 0, 2, 2))
    index = client.plugin("csi", "well").index
    assert client.plugin("csi", "well", index=index, wait=1.2).index == index
    assert {name: agent.children for name, agent in agents.items()} == probers
