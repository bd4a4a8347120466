"""A plugin type that hangs, raises, hogs memory or floods takes no other along, nor the server."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from plugind.client import Client
from tests import strangers
from tests.processes import Machine, Process, counts, machine
from tests.support import eventually, needs

PROMISE = 5.0
CNI = "/usr/lib/cni"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def one_process(here: Machine) -> tuple[Process, Client]:
    """Server and agent in one process, so that what harms either harms both."""
    process = here.start(
        *("agent", "--server-enabled", "true", "--client-enabled", "true", "--ports-http", "0"),
        *("--data-dir", here.folder / "data", "--name", "vm"),
        *("--plugin-types-enabled", ",".join(["csi", "cni", *strangers.NAMES])),
        environ={
            "PYTHONPATH": str(strangers.install(here.folder)),
            "PLUGIND_PLUGIN_TYPE_CSI_SOCKETS": str(here.folder / "sockets/vm/*.sock"),
            "PLUGIND_PLUGIN_TYPE_CNI_BIN_DIRS": CNI,
            "PLUGIND_PLUGIN_TYPE_HOGS_MEMORY_LIMIT": str(128 << 20),
        },
    )
    address = eventually(lambda: re.search(r"address=(http://\S+)", process.logged))
    return process, Client(address[1])


@pytest.mark.alone
def test_what_strangers_do_harms_nobody_else(here: Machine) -> None:
    needs(f"{CNI}/bridge", "containernetworking-plugins")
    driver = here.driver("vm/ebs0.sock")
    hung = here.driver("vm/hung.sock")
    process, client = one_process(here)
    started = time.monotonic()
    eventually(lambda: counts(client, "ebs0") == counts(client, "hung") == (1, 1, 1, 1))
    assert time.monotonic() - started < PROMISE + 3, "the first report waits for nobody longer"

    def has_cni() -> bool:
        rows = {row["ID"]: row["ExecutablesHealthy"] for row in client.plugins("cni").value}
        return rows.get("bridge") == 1

    eventually(has_cni)

    def health() -> tuple[int, str]:
        answer = requests.get(f"{client.address}/v1/agent/health", timeout=5)
        return answer.status_code, answer.json()["client"]["message"]

    for told in (
        "; floods: 1,70",
        " instances are not reported: at most 1,000 are (max_instances)",
        "; hogs: the prober of hogs grew past its memory limit of 128 MiB",
        "; raises: discover failed: RuntimeError: out of order",
    ):
        eventually(lambda told=told: told in health()[1], within=15)
    assert health()[0] == 200
    assert len(client.plugins("floods").value) == 1_000
    flood = "probe returned 100,000 instances; at most 1,000 are taken"
    shown = [row["ID"] for row in client.plugins("floods").value]
    one = str(client.plugin("floods", "flood").value) if "flood" in shown else health()[1]
    assert flood in one, "whether what fails has a place or not, it says why"

    index = client.plugin("csi", "ebs0").index
    killed = time.monotonic()
    driver.kill()
    answer = client.plugin("csi", "ebs0", index=index)
    assert time.monotonic() - killed < 1
    assert answer.value["NodesHealthy"] == 0

    stopped = time.monotonic()
    hung.send(signal.SIGSTOP)
    eventually(lambda: counts(client, "hung") == (0, 1, 0, 1))
    assert time.monotonic() - stopped < PROMISE
    returned = time.monotonic()
    hung.send(signal.SIGCONT)
    here.driver("vm/ebs0.sock")
    eventually(lambda: counts(client, "ebs0") == counts(client, "hung") == (1, 1, 1, 1))
    assert time.monotonic() - returned < PROMISE
    assert has_cni()
    assert "rejected" not in process.logged
    assert "refuses" not in process.logged
    assert health()[0] == 200
