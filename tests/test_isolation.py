"""A plugin type that hangs, raises, hogs memory or floods harms neither the server nor others."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from plugind.client import Client
from tests import misbehaving_types
from tests.processes import Machine, Process, counts, machine
from tests.promises import PATIENCE, promised
from tests.support import eventually, needs

PROMISE = 5.0
CNI = "/usr/lib/cni"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def one_process(here: Machine) -> tuple[Process, Client]:
    """Start server and agent in one process, so that a fault of either harms both."""
    process = here.start(
        *("agent", "--server-enabled", "true", "--client-enabled", "true", "--ports-http", "0"),
        *("--data-dir", here.folder / "data", "--name", "vm"),
        *("--plugin-types-enabled", ",".join(["csi", "cni", *misbehaving_types.NAMES])),
        environ={
            "PYTHONPATH": str(misbehaving_types.install(here.folder)),
            "PLUGIND_PLUGIN_TYPE_CSI_SOCKETS": str(here.folder / "sockets/vm/*.sock"),
            "PLUGIND_PLUGIN_TYPE_CNI_BIN_DIRS": CNI,
            "PLUGIND_PLUGIN_TYPE_CNI_ALLOW": "bridge",
            "PLUGIND_PLUGIN_TYPE_HOGS_MEMORY_LIMIT": str(128 << 20),
        },
    )
    address = eventually(lambda: re.search(r"address=(http://\S+)", process.logged))
    return process, Client(address[1])


@pytest.mark.alone
def test_misbehaving_types_harm_nothing_else(here: Machine) -> None:
    needs(f"{CNI}/bridge", "containernetworking-plugins")
    driver = here.driver("vm/ebs0.sock")
    hung = here.driver("vm/hung.sock")
    process, client = one_process(here)
    with promised(PROMISE + 3):  # the first report waits no longer for types that hang
        eventually(lambda: counts(client, "ebs0") == counts(client, "hung") == (1, 1, 1, 1))

    def has_cni() -> bool:
        rows = {row["ID"]: row["ExecutablesHealthy"] for row in client.plugins("cni").value}
        return rows.get("bridge") == 1

    eventually(has_cni)

    def health() -> tuple[int, str]:
        answer = requests.get(f"{client.address}/v1/agent/health", timeout=PATIENCE)
        return answer.status_code, answer.json()["client"]["message"]

    for message in (
        "; floods: 1,70",
        " instances are not reported: at most 1,000 are (max_instances)",
        "; hogs: the prober of hogs grew past its memory limit of 128 MiB",
        "; raises: discover failed: RuntimeError: out of order",
    ):
        eventually(lambda message=message: message in health()[1])
    assert health()[0] == 200
    assert len(client.plugins("floods").value) == 1_000
    flood = "probe returned 100,000 instances; at most 1,000 are taken"
    shown = [row["ID"] for row in client.plugins("floods").value]
    one = str(client.plugin("floods", "flood").value) if "flood" in shown else health()[1]
    assert flood in one, "whether what fails has a place or not, it says why"

    index = client.plugin("csi", "ebs0").index
    with promised(1):
        driver.kill()
        answer = client.plugin("csi", "ebs0", index=index)
    assert answer.value["NodesHealthy"] == 0

    with promised(PROMISE):
        hung.send(signal.SIGSTOP)
        eventually(lambda: counts(client, "hung") == (0, 1, 0, 1))
    with promised(PROMISE):
        hung.send(signal.SIGCONT)
        here.driver("vm/ebs0.sock")
        eventually(lambda: counts(client, "ebs0") == counts(client, "hung") == (1, 1, 1, 1))
    assert has_cni()
    assert "rejected" not in process.logged
    assert "refuses" not in process.logged
    assert health()[0] == 200
