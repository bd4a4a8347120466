"""What a person sees who has only the policy of ``conf/server/acl/policies/team.hcl``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugind.acl.tokens import CLIENT, MANAGEMENT, block, draw
from tests.processes import PLUGIND
from tests.support import FakeAgent, Live, down, serving, up
from tests.test_cli import plugind

TEAM = Path(__file__).parent.parent / "conf/server/acl/policies/team.hcl"
ALLOC = "0a1b2c3d-2222-4333-8444-555555555555"
NAMED, UNNAMED = (f"{digit * 8}-2222-4333-8444-555555555555" for digit in "ab")


class Harness:
    """A server with two nodes; one of them reports the process behind its instance."""

    def __init__(self, api: Live, secret: str, manager: str) -> None:
        self.api = api
        self.secret = secret
        self._agents = [
            FakeAgent(api, node_id, name, token=manager)
            for node_id, name in ((NAMED, "vm-named"), (UNNAMED, "vm-unnamed"))
        ]

    def report(self, one: dict[str, Any]) -> None:
        named, unnamed = self._agents
        more = {"Allocations": {ALLOC: {"Name": "nfs.service", "JobID": "nfs.service"}}}
        assert named.report({"nfs": {"node": {**one, "AllocID": ALLOC}}}, **more).status == 200
        assert unnamed.report({"nfs": {"node": one}}).status == 200

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        return plugind(*words, address=self.api.address, PLUGIND_TOKEN=self.secret)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    (tmp_path / "policies").mkdir()
    shutil.copy(TEAM, tmp_path / "policies")
    secret, token = draw("person", CLIENT, ["team"], None)
    manager, other = draw("manager", MANAGEMENT, [], None)
    (tmp_path / "tokens.hcl").write_text(block(token) + block(other))
    config = f"""acl {{
  enabled  = true
  policies = "{tmp_path}/policies"
  tokens   = "{tmp_path}/tokens.hcl"
}}"""
    with serving(tmp_path, live=True, config=config) as api:
        assert isinstance(api, Live)
        yield Harness(api, secret, manager)


@pytest.mark.parametrize("one", [up(), down()], ids=["well", "unhealthy"])
def test_status(harness: Harness, one: dict[str, Any]) -> None:
    harness.report(one)
    whole = harness.ask("plugin", "status")
    assert (whole.returncode, whole.stderr) == (0, "")
    if not one["Healthy"]:
        rows = [line.split() for line in whole.stdout.splitlines() if "disk on fire" in line]
        assert [row[3] for row in rows] == ["vm-named", UNNAMED]
    for name in ("nfs", "csi/nfs"):
        single = harness.ask("plugin", "status", name)
        assert (single.returncode, single.stderr) == (0, "")
        rows = [line.split() for line in single.stdout.splitlines()]
        assert [row[0] for row in rows if row[2:3] == ["node"]] == ["vm-named", UNNAMED]
    as_json = harness.ask("plugin", "status", "--json")
    assert json.loads(as_json.stdout)["csi"][0]["ID"] == "nfs"
    assert harness.ask("plugin", "check", "nfs").returncode == (0 if one["Healthy"] else 2)


@pytest.mark.parametrize("words", [[], ["nfs"]], ids=["list", "one"])
def test_watch(harness: Harness, words: list[str]) -> None:
    harness.report(up())
    environ = {**os.environ, "PLUGIND_ADDR": harness.api.address, "PLUGIND_TOKEN": harness.secret}
    command = [PLUGIND, "plugin", "status", *words, "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "healthy" in line:
                    break
            harness.report(down())
            shown = next(line for line in process.stdout if "vm-named" in line and "fire" in line)
            assert "disk on fire" in shown
        finally:
            process.kill()


def test_the_missing_rights_are_named(harness: Harness) -> None:
    for words, needed in (
        (("node", "status"), "the node policy read or write"),
        (("plugin", "forget", "nfs"), "a management token"),
    ):
        harness.report(up())
        done = harness.ask(*words)
        assert done.returncode == 1
        assert done.stderr == f"Error: Permission denied: it needs {needed}\n"
