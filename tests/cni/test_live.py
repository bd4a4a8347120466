"""CNI as operators see it: a real server, a real agent, real executables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugind.client import Client
from tests.cni.conftest import Host
from tests.processes import Machine, machine
from tests.support import eventually

PODS = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [{"type": "bridge", "ipam": {"type": "host-local"}}, {"type": "portmap"}],
}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def agent(here: Machine, client: Client, host: Host) -> Any:
    block = f'bin_dirs = ["{host.bin}"]\nconf_dir = "{host.conf}"'
    return here.agent_with("vm", client.address, "cni", block)


def only(client: Client, id: str, plural: str) -> dict[str, Any]:
    (one,) = client.plugin("cni", id).value[plural].values()
    found: dict[str, Any] = one
    return found


def test_an_executable_that_goes_takes_its_networks_along(here: Machine, host: Host) -> None:
    host.install("bridge", "host-local", "portmap", "vlan")
    host.configure("10-pods.conflist", PODS)
    host.configure("20-lan.conf", {"cniVersion": "1.0.0", "name": "lan", "type": "vlan"})
    _, client = here.server()
    process = agent(here, client, host)
    eventually(lambda: len(client.plugins("cni").value) == 6)
    bridge = client.plugin("cni", "bridge").value
    assert (bridge["ExecutablesHealthy"], bridge["NetworksExpected"]) == (1, 0)
    assert bridge["UsedBy"] == ["pods"]
    assert bridge["CNIVersion"] in bridge["SupportedVersions"]
    assert only(client, "pods", "Networks")["Healthy"]

    removed = time.monotonic()
    index = client.plugin("cni", "pods").index
    (host.bin / "host-local").unlink()
    pods = client.plugin("cni", "pods", index=index).value
    assert time.monotonic() - removed < 5
    assert (pods["NetworksHealthy"], pods["NetworksExpected"]) == (0, 1)
    told = only(client, "pods", "Networks")["HealthDescription"]
    assert told == f"there is no host-local in {host.bin}, and the network needs it"
    gone = only(client, "host-local", "Executables")
    assert "not reported by vm" in gone["HealthDescription"]
    assert only(client, "lan", "Networks")["Healthy"]

    host.install("host-local")
    eventually(lambda: only(client, "pods", "Networks")["Healthy"], within=5)
    eventually(lambda: only(client, "host-local", "Executables")["Healthy"], within=5)
    host.configure("10-pods.conflist", "{")
    eventually(lambda: "is no JSON" in only(client, "pods", "Networks")["HealthDescription"])
    assert only(client, "pods", "Networks")["Needs"] == ["bridge", "host-local", "portmap"]
    assert process.stop() == 0
    assert "component=prober" not in process.logged, "its process had nothing to complain of"


def test_a_machine_without_cni_is_quiet_and_sees_it_come(here: Machine, host: Host) -> None:
    host.bin.rmdir()
    host.conf.rmdir()
    _, client = here.server()
    process = agent(here, client, host)
    eventually(lambda: client.nodes().value)
    assert client.plugins("cni").value == []
    host.bin.mkdir()
    host.install("bridge")
    eventually(lambda: [row["ID"] for row in client.plugins("cni").value] == ["bridge"], within=5)
    assert process.stop() == 0
    assert "component=prober" not in process.logged
    assert "component=cni" not in process.logged
