"""Agents as real processes, in what happens to them: signals, reloads, servers that are away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Machine, counts, instance, machine
from tests.support import eventually


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def test_a_node_that_leaves_takes_its_instances_along(here: Machine) -> None:
    server, client = here.server()
    agent = here.agent("vm", client.address, client_leave_on_terminate="true")
    here.driver("vm/nfs.sock", "--no-controller")
    eventually(lambda: counts(client, "nfs") == (0, 0, 1, 1))
    assert agent.stop() == 0
    assert counts(client, "nfs") is None
    assert client.nodes().value == []
    assert "the node has left" in agent.logged
    again = here.agent("vm", client.address, client_leave_on_terminate="true")
    eventually(lambda: counts(client, "nfs") == (0, 0, 1, 1))
    server.stop()
    assert again.stop() == 0
    assert "the node could not leave" in again.logged


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

    here.tell("vm/nfs.sock", "slow", "500ms")
    slow = client.plugin("csi", "nfs", index=index)
    (told,) = slow.value["Nodes"].values()
    assert told["HealthDescription"].startswith("healthy; slow: answers take ")
    assert client.plugin("csi", "nfs", index=slow.index, wait=1.5).index == slow.index

    here.tell("vm/nfs.sock", "ok")
    brisk = client.plugin("csi", "nfs", index=slow.index)
    assert instance(client, "nfs")["HealthDescription"] == "healthy"

    here.tell("vm/nfs.sock", "fail", "disk on fire")
    doubt = client.plugin("csi", "nfs", index=brisk.index)
    assert instance(client, "nfs")["HealthDescription"] == (
        "healthy; probes fail, but fewer than 1000 in a row: "
        "Probe failed: FAILED_PRECONDITION: disk on fire"
    )
    assert client.plugin("csi", "nfs", index=doubt.index, wait=0.5).index == doubt.index
    assert counts(client, "nfs") == (0, 0, 1, 1)
