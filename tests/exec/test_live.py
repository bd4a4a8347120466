"""Checks as operators see them: a real server, a real agent, real checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugind.client import Client
from tests.processes import Machine, alive, machine
from tests.support import eventually, needs

PLUGINS = "/usr/lib/nagios/plugins"

BLOCK = """
  probe_interval = "200ms"

  check "dummy" {{
    command = ["{PLUGINS}/check_dummy", "1", "so so"]
  }}
  check "file" {{
    command = ["{PLUGINS}/check_file_age", "-w", "100000", "-c", "200000", "-f", "{folder}/file"]
  }}
  check "hung" {{
    command       = ["/bin/sh", "-c", "echo $$ >> {folder}/pids; exec sleep 600"]
    probe_timeout = "300ms"
  }}
  check "several" {{
    command = ["/bin/cat", "{folder}/lines"]
    format  = "json"
  }}
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def only(client: Client, id: str) -> dict[str, Any]:
    (one,) = client.plugin("exec", id).value["Checks"].values()
    found: dict[str, Any] = one
    return found


def test_checks_from_a_configuration_file(here: Machine) -> None:
    needs(f"{PLUGINS}/check_file_age", "monitoring-plugins-basic")
    folder = here.folder
    (folder / "file").write_text("x")
    (folder / "lines").write_text('{"ID": "one", "Healthy": true, "Free": 3}\n')
    _, client = here.server()
    block = BLOCK.format(PLUGINS=PLUGINS, folder=folder)
    agent = here.agent_with("vm", client.address, "exec", block)

    eventually(lambda: len(client.plugins("exec").value) == 4)
    rows = {row["ID"]: row for row in client.plugins("exec").value}
    assert {id: (row["Status"], row["ChecksHealthy"]) for id, row in rows.items()} == {
        "dummy": ("WARNING", 1),
        "file": ("OK", 1),
        "hung": ("UNKNOWN", 0),
        "one": ("OK", 1),
    }
    assert only(client, "dummy")["HealthDescription"] == "WARNING: so so"
    text = "it did not end within 300ms and was killed"
    eventually(lambda: only(client, "hung")["HealthDescription"] == text)
    assert only(client, "one")["Details"] == {"Free": "3"}
    assert only(client, "file")["PerfData"].startswith("age=")

    (folder / "file").unlink()
    (folder / "lines").write_text("")
    eventually(lambda: only(client, "file")["Status"] == "CRITICAL")
    assert "File not found" in only(client, "file")["HealthDescription"]
    eventually(lambda: "one" not in [row["ID"] for row in client.plugins("exec").value])
    assert agent.stop() == 0
    started = [int(pid) for pid in (folder / "pids").read_text().split()]
    eventually(lambda: not any(map(alive, started)))
    assert "component=prober" not in agent.logged, "its process had nothing to complain of"
