"""``plugind status``: one screen that shows all problems, and an exit status."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from plugind.cli import status
from plugind.model import Declaration, PluginKey
from tests.api.gate import gate
from tests.cli.conftest import NODE, REASON
from tests.cli.terminal import Terminal
from tests.processes import PLUGIND
from tests.promises import COMMAND_MAXIMUM
from tests.support import FakeAgent, Live, down, serving, up
from tests.test_cli import plugind


def test_all_that_is_wrong(api: Live, agent: FakeAgent) -> None:
    for number in range(3, 12):
        FakeAgent(api, name=f"vm{number:02d}").report({"nfs": {"node": down("flood")}})
    api.services.intake.silence([NODE])
    done = plugind("status", address=api.address)
    assert (done.returncode, done.stderr) == (2, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "4 problems; 4 plugins: 3 down, 1 degraded; 11 nodes: 1 down."
    table = lines[2:7]
    assert table[0].split() == ["Severity", "What", "Where", "Since", "Why"]
    assert any("node vm1" in line and "3 instances" in line for line in table)
    assert any("9 nodes: vm03, vm04, vm05, vm06, vm07, ..." in line for line in table)
    assert any("csi/declared node" in line and "2 expected, none known" in line for line in table)
    assert any("csi/smb node" in line and "smb is down" in line for line in table)
    assert not any(REASON in line for line in table), "it is on the node that is down"
    assert lines[8].startswith("In the last hour: ")
    assert "1 down" in lines[8]
    assert len(lines) == 8 + 1 + 1 + 1 + status.CHANGES_SHOWN + 1
    assert lines[-1] == "'plugind history --since 1h' shows the rest."


def test_one_line_when_all_is_well(tmp_path: Path) -> None:
    with serving(tmp_path, live=True) as api:
        assert isinstance(api, Live)
        done = plugind("status", address=api.address)
        assert done.stdout == "All is well.\n\nNothing changed in the last hour.\n"
        FakeAgent(api).report({"nfs": {"node": up()}})
        done = plugind("status", address=api.address)
        assert (done.returncode, done.stderr) == (0, "")
        first, _, changes, *_ = done.stdout.splitlines()
        assert first == "All is well; 1 plugin: all healthy; 1 node: all up."
        assert changes == "In the last hour: 1 change (1 appeared)."


def test_what_is_degraded_is_a_warning(tmp_path: Path) -> None:
    with serving(tmp_path, live=True) as api:
        assert isinstance(api, Live)
        FakeAgent(api).report({"nfs": {"node": up()}})
        FakeAgent(api, name="vm2").report({"nfs": {"node": down("flood")}})
        done = plugind("status", address=api.address)
        assert done.returncode == 1
        assert done.stdout.startswith("1 problem; 1 plugin: 1 degraded; 2 nodes: all up.\n")


def test_an_instance_too_many_that_is_unhealthy_is_shown_and_ok(tmp_path: Path) -> None:
    with serving(tmp_path, live=True) as api:
        assert isinstance(api, Live)
        api.services.intake.declare([Declaration(PluginKey("csi", "nfs"), {"node": 1})])
        FakeAgent(api).report({"nfs": {"node": up()}})
        FakeAgent(api, name="vm2").report({"nfs": {"node": down("flood")}})
        done = plugind("status", address=api.address)
        assert done.returncode == plugind("plugin", "check", "nfs", address=api.address).returncode
        assert done.returncode == 0
        assert done.stdout.startswith("1 problem; 1 plugin: none down or degraded; ")
        assert "flood" in done.stdout


def test_json(api: Live, agent: FakeAgent) -> None:
    done = plugind("status", "--json", address=api.address)
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert found["Problems"] == api.call("GET", "/v1/problems").json
    assert found["Changes"] == api.call("GET", "/v1/history").json


@pytest.mark.parametrize("options", [(), ("--json",), ("--nonsense",)])
def test_what_cannot_be_known_is_three(options: tuple[str, ...]) -> None:
    done = plugind("status", *options, address="http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


def test_a_token_that_may_read_nothing(tmp_path: Path) -> None:
    made = gate(tmp_path, "csi-list", "csi-read")
    with serving(tmp_path, live=True, config=made.config) as api:
        assert isinstance(api, Live)
        FakeAgent(api, token=made.secrets["management"]).report({"nfs": {"node": up()}})
        done = plugind("status", address=api.address, PLUGIND_TOKEN=made.secrets["csi-list"])
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith("Error: Permission denied")
        done = plugind("status", address=api.address, PLUGIND_TOKEN=made.secrets["csi-read"])
        assert done.returncode == 0
        assert done.stdout.startswith("All is well; 1 plugin: all healthy.\n")


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_it_fits_a_terminal(api: Live, agent: FakeAgent, columns: int) -> None:
    with Terminal("status", columns=columns, address=api.address) as terminal:
        assert terminal.end() == 2
        screen = terminal.screen
    assert "…" not in screen
    assert "Traceback" not in screen
    assert "csi/smb" in "".join(screen.split())


def test_a_reader_that_wants_no_more_gets_no_error(api: Live) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [PLUGIND, "status"],
            stdout=writing,
            stderr=subprocess.PIPE,
            env={**os.environ, "PLUGIND_ADDR": api.address},
            timeout=COMMAND_MAXIMUM,
        )
    finally:
        os.close(writing)
    assert done.stderr == b""
