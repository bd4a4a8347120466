"""CNI as operators see it: a real server, a real agent, real executables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugind.client import Client
from tests.cni.conftest import Host
from tests.processes import Machine, machine
from tests.promises import promised
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


def only(client: Client, id: str, plural: str) -> dict[str, Any]:
    (one,) = client.plugin("cni", id).value[plural].values()
    found: dict[str, Any] = one
    return found


@pytest.mark.alone
def test_cni_that_is_installed_and_loses_an_executable(here: Machine, host: Host) -> None:
    host.bin.rmdir()
    host.conf.rmdir()
    _, client = here.server()
    block = f'bin_dirs = ["{host.bin}"]\nconf_dir = "{host.conf}"'
    agent = here.agent_with("vm", client.address, "cni", block)
    eventually(lambda: client.nodes().value)
    assert client.plugins("cni").value == []

    host.bin.mkdir()
    host.conf.mkdir()
    host.install("bridge", "host-local", "portmap", "vlan")
    host.configure("10-pods.conflist", PODS)
    host.configure("20-lan.conf", {"cniVersion": "1.0.0", "name": "lan", "type": "vlan"})
    eventually(lambda: len(client.plugins("cni").value) == 6)
    for name in ("pods", "lan"):
        eventually(lambda name=name: only(client, name, "Networks")["Healthy"])
    eventually(lambda: client.plugin("cni", "bridge").value["UsedBy"] == ["pods"])
    bridge = client.plugin("cni", "bridge").value
    assert (bridge["ExecutablesHealthy"], bridge["NetworksExpected"]) == (1, 0)
    assert bridge["CNIVersion"] in bridge["SupportedVersions"]

    with promised(5):
        index = client.plugin("cni", "pods").index
        (host.bin / "host-local").unlink()
        pods = client.plugin("cni", "pods", index=index).value
    assert (pods["NetworksHealthy"], pods["NetworksExpected"]) == (0, 1)

    def described(name: str, plural: str) -> str:
        return str(only(client, name, plural)["HealthDescription"])

    missing = f"there is no host-local in {host.bin}, and the network needs it"
    eventually(lambda: described("pods", "Networks") == missing)
    eventually(lambda: "not reported by vm" in described("host-local", "Executables"))
    assert only(client, "lan", "Networks")["Healthy"]

    with promised(5):
        host.install("host-local")
        eventually(lambda: only(client, "pods", "Networks")["Healthy"])
        eventually(lambda: only(client, "host-local", "Executables")["Healthy"])
    host.configure("10-pods.conflist", "{")
    eventually(lambda: "is not JSON" in only(client, "pods", "Networks")["HealthDescription"])
    assert only(client, "pods", "Networks")["Needs"] == ["bridge", "host-local", "portmap"]
    assert agent.stop() == 0
    assert "component=prober" not in agent.logged, "its process had nothing to complain of"
    assert "component=cni" not in agent.logged
