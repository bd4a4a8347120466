"""A real driver's process, from the socket that it listens on to what Nomad's tools show."""

from __future__ import annotations

import platform
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugind import __version__
from plugind.client import Client
from plugind.toolbox.processes import of_pid
from tests.processes import Machine, Process, counts, instance, machine
from tests.support import eventually


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def stub(client: Client) -> dict[str, Any]:
    (found,) = client.plugin("csi", "nfs").value["Allocations"]
    only: dict[str, Any] = found
    return only


def check(client: Client, driver: Process) -> str:
    """Check that the plugin's allocation is the driver's process; return its ID."""
    known, one = of_pid(driver.pid), instance(client, "nfs")
    assert known is not None
    shown = stub(client)
    assert shown.items() >= {key: known[key] for key in ("Name", "JobID", "TaskGroup")}.items()
    assert abs(shown["CreateTime"] - known["CreateTime"]) <= 1_000_000_000
    assert shown["ClientStatus"] == "running"
    assert shown["ID"] == one["AllocID"] == str(uuid.UUID(one["AllocID"]))
    (node,) = client.nodes().value
    assert (shown["NodeID"], shown["NodeName"]) == (node["ID"], "vm")
    assert [each["ID"] for each in client.allocations(node["ID"]).value] == [shown["ID"]]
    return str(shown["ID"])


def test_a_drivers_process_is_the_plugins_allocation(here: Machine) -> None:
    _, client = here.server()
    here.agent("vm", client.address)
    driver = here.driver("vm/nfs.sock")
    eventually(lambda: counts(client, "nfs") == (1, 1, 1, 1))
    first = check(client, driver)
    assert stub(client)["TaskGroup"] == Path(f"/proc/{driver.pid}/comm").read_text().strip()

    driver.stop()
    driver = here.driver("vm/nfs.sock")
    eventually(lambda: counts(client, "nfs") == (1, 1, 1, 1) and stub(client)["ID"] != first)
    second = check(client, driver)
    assert second != first

    driver.kill()
    eventually(lambda: counts(client, "nfs") == (0, 1, 0, 1))
    assert (stub(client)["ID"], stub(client)["ClientStatus"]) == (second, "failed")
    assert "nothing listens" in stub(client)["ClientDescription"]
    driver = here.driver("vm/nfs.sock")
    eventually(lambda: counts(client, "nfs") == (1, 1, 1, 1))
    third = check(client, driver)
    assert third not in (first, second)

    driver.send(signal.SIGSTOP)
    eventually(lambda: counts(client, "nfs") == (0, 1, 0, 1))
    assert (stub(client)["ID"], stub(client)["ClientStatus"]) == (third, "running")


def test_a_restart_of_the_agent_is_no_news(here: Machine) -> None:
    _, client = here.server()
    agent = here.agent("vm", client.address)
    here.driver("vm/nfs.sock")
    eventually(lambda: counts(client, "nfs") == (1, 1, 1, 1))
    before = client.plugin("csi", "nfs")
    assert agent.stop() == 0
    agent = here.agent("vm", client.address)
    eventually(lambda: "connected" in agent.logged)
    after = client.plugin("csi", "nfs")
    assert (after.index, after.value) == (before.index, before.value)
    attributes = client.node(stub(client)["NodeID"]).value["Attributes"]
    assert (
        attributes.items()
        >= {
            "kernel.name": "linux",
            "kernel.version": platform.release(),
            "plugind.version": __version__,
            "unique.hostname": platform.node(),
        }.items()
    )
    assert attributes["cpu.arch"] in ("amd64", "arm64", platform.machine())
    assert attributes["os.name"] == platform.freedesktop_os_release()["ID"]
