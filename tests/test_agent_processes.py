"""Agents as real processes, in what happens to them: signals, reloads, servers that are away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Machine, counts, machine
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
