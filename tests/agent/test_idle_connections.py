"""An agent keeps no connection open while it does not need it for some time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from plugind.agent.report.reporter import IDLE_MAXIMUM
from tests.processes import Machine, machine
from tests.promises import promised
from tests.support import eventually


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


@pytest.mark.alone
def test_an_agent_has_no_connection_open_between_heartbeats(here: Machine) -> None:
    """Check that none is open while an agent waits some 2.7 s for its next heartbeat."""
    log = here.folder / "access.log"
    server, client = here.server(server_heartbeat_ttl="9s", server_access_log=str(log))
    port = urlsplit(client.address).port

    def open_connections() -> int:
        found = psutil.Process(server.pid).net_connections("tcp")
        return sum(each.status == "ESTABLISHED" and each.laddr.port == port for each in found)

    def beats() -> int:
        return log.read_text().count("/heartbeat")

    client.close()
    agent = here.agent("vm1", client.address)
    eventually(lambda: '"PUT"' in log.read_text())
    with promised(IDLE_MAXIMUM + 1.0):
        eventually(lambda: not open_connections())
    for _ in range(2):
        before = beats()
        eventually(lambda before=before: beats() > before)
        with promised(0.5):
            eventually(lambda: not open_connections(), 20, every=0.005)
        time.sleep(0.2)
        assert open_connections() == 0
    assert agent.popen.poll() is None
