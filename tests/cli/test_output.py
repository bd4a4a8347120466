"""Command output meant for programs, and the warnings in the agent's log."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from tests.cli.test_help import HELPS
from tests.processes import machine
from tests.support import FakeAgent, eventually, serving, up
from tests.test_cli import plugind

WITHOUT_JSON = {
    "plugind agent": "runs until it is ended",
    "plugind config validate": "prints mistakes only",
    "plugind csi-sample": "runs until it is ended",
    "plugind csi-tell": "prints nothing",
    "plugind node forget": "reads nothing",
    "plugind plugin check": "has the output that Nagios' plugins have",
    "plugind plugin forget": "reads nothing",
    "plugind reload": "reads nothing",
    "plugind type new": "writes files",
}


def test_every_command_that_reads_has_json() -> None:
    commands = {
        path: context
        for path, context in HELPS.items()
        if not isinstance(context.command, click.Group)
    }
    without = {
        path
        for path, context in commands.items()
        if not any("--json" in each.opts for each in context.command.get_params(context))
    }
    assert without <= WITHOUT_JSON.keys()
    assert len(without) < len(commands)


def test_a_backup_as_json(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with serving(tmp_path / "data", live=False) as api:
        FakeAgent(api).report({"ebs0": {"node": up()}})
        where = ("--data-dir", tmp_path / "data")
        copy = tmp_path / "copy.db"
        done = plugind("store", "backup", copy, "--json", *where)
        assert (done.returncode, done.stderr) == (0, "")
        made = json.loads(done.stdout)
        checked = json.loads(plugind("store", "check", "--json", *where).stdout)
    assert made == {**checked, "file": str(copy)}
    assert copy.exists()


def test_a_policy_as_json(tmp_path: Path) -> None:
    file = tmp_path / "team.hcl"
    file.write_text('# the team\n\nnode { policy = "read" }\n')
    done = plugind("acl", "policy", "check", file, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (policy,) = json.loads(done.stdout)
    assert policy["Name"] == "team"
    assert [(rule["Line"], rule["Allows"]) for rule in policy["Rules"]] == [(3, "read nodes")]


@pytest.mark.parametrize("json_", ["false", "true"])
def test_a_type_that_is_disabled_is_no_warning(tmp_path: Path, json_: str) -> None:
    with machine(tmp_path) as here:
        process = here.start(
            *("agent", "--dev", "--ports-http", "0", "--plugin-types-disabled", "exec,cni"),
            *("--log-json", json_),
            environ={"PLUGIND_PLUGIN_TYPE_CSI_SOCKETS": f"{tmp_path}/none/*.sock"},
        )
        eventually(lambda: "watching" in process.logged)
        assert "disabled" not in process.logged
        assert process.stop() == 0
