"""``plugind plugin history`` and ``plugind node history``."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import NODE, REASON
from tests.support import FakeAgent, Live, up
from tests.test_cli import plugind


def lines(api: Live, *command: str) -> list[str]:
    """Return the lines of a table, without its head."""
    done = plugind(*command, address=api.address)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()[1:]


def test_a_plugin_and_a_node(api: Live, agent: FakeAgent) -> None:
    before = len(lines(api, "plugin", "history", "aws-ebs0"))
    agent.report({"aws-ebs0": {"controller": up(), "node": up()}, "nfs": {"node": up()}})
    first, *rest = lines(api, "plugin", "history", "aws-ebs0")
    assert len(rest) == before
    assert first.split()[3:8] == ["healthy", "csi", "aws-ebs0", "node", "vm1"]
    assert any(REASON in line for line in rest)
    for name in ("vm1", NODE, NODE[:8]):
        of_node = lines(api, "node", "history", name)
        assert any("nfs" in line for line in of_node)
        assert not any("vm2" in line for line in of_node)


def test_what_is_gone_keeps_its_history(api: Live, agent: FakeAgent) -> None:
    assert plugind("node", "forget", "vm1", address=api.address).returncode == 0
    assert lines(api, "plugin", "history", "csi/nfs")[0].split()[3:6] == ["left", "csi", "nfs"]
    assert lines(api, "node", "history", NODE)
    done = plugind("plugin", "history", "csi/none", address=api.address)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: plugin not found\n"


@pytest.mark.parametrize("command", [("plugin", "history", "nfs"), ("node", "history", "vm1")])
def test_json_and_since(api: Live, agent: FakeAgent, command: tuple[str, ...]) -> None:
    done = plugind(*command, "--json", address=api.address)
    rows = json.loads(done.stdout)
    assert {row["Event"] for row in rows} >= {"appeared"}
    assert json.loads(plugind(*command, "--json", "--since", "1h", address=api.address).stdout)
    done = plugind(*command, "--since", "2200-01-01T00:00:00Z", address=api.address)
    assert done.stdout == "Nothing happened, as far as the history goes back.\n"
    done = plugind(*command, "--since", "yesterday", address=api.address)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Invalid since: it is a time, as 2026-")
