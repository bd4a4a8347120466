"""Every command that queries a server gives the same output with both settings of ``wire``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from plugind.client import Client
from plugind.errors import Refused
from tests.cli.conftest import acl_config, address
from tests.support import FakeAgent, Live, down, serving, up
from tests.test_cli import plugind

AGO = re.compile(r"\(\w+ ago\)")


def lines(*words: str, address: str, status: int = 0) -> list[list[str]]:
    done = plugind(*words, address=address)
    assert (done.returncode, done.stderr) == (status, ""), done.stderr
    return [AGO.sub("(AGO)", line).split() for line in done.stdout.splitlines()]


def test_the_list(api: Live, agent: FakeAgent) -> None:
    shown = lines("plugin", "status", address=api.address)
    assert ["csi", "aws-ebs0", "ebs.example", "Controllers", "1/1,"] in [line[:5] for line in shown]
    counts = {line[1]: " ".join(line[2:]) for line in shown if line[:1] == ["csi"]}
    assert counts["nfs"] == "nfs.example Controllers 0/0, Nodes 1/1 healthy"
    assert counts["declared"] == "Controllers 0/0, Nodes 0/2 unhealthy"
    assert any(
        line[:6] == ["csi", "aws-ebs0", "node", "vm1", "2026-01-31T23:00:00Z", "(AGO)"]
        for line in shown
    )


def test_one_plugin(api: Live, agent: FakeAgent) -> None:
    shown = lines("plugin", "status", "aws-ebs0", address=api.address)
    assert ["Nodes", "=", "1/2", "healthy"] in shown
    assert ["ControllerRequired", "=", "False"] in shown
    assert ["vm1", "abcdef01", "controller", "healthy"] in [line[:4] for line in shown]


def test_declared_and_reported_by_no_node(api: Live, agent: FakeAgent) -> None:
    shown = lines("plugin", "status", "csi/declared", address=api.address)
    assert ["Nodes", "=", "0/2", "healthy"] in shown
    assert ["No", "instances."] in shown


@pytest.mark.parametrize(
    ("id", "status", "start"),
    [
        ("nfs", 0, "PLUGIND OK - csi/nfs: Controllers 0/0, Nodes 1/1 healthy"),
        ("aws-ebs0", 1, "PLUGIND WARNING - csi/aws-ebs0: Controllers 1/1, Nodes 1/2 healthy, "),
        ("declared", 2, "PLUGIND CRITICAL - csi/declared: Controllers 0/0, Nodes 0/2 healthy, "),
    ],
)
def test_checks(api: Live, agent: FakeAgent, id: str, status: int, start: str) -> None:
    done = plugind("plugin", "check", id, address=api.address)
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout.startswith(start)


def test_nodes(api: Live, agent: FakeAgent) -> None:
    assert ["vm2", "dc2"] in [line[1:3] for line in lines("node", "status", address=api.address)]
    shown = lines("node", "status", "vm1", address=api.address)
    assert ["csi", "nfs", "node", "healthy"] in [line[:4] for line in shown]


def test_forgetting(api: Live, agent: FakeAgent) -> None:
    assert lines("plugin", "forget", "smb", address=api.address)
    done = plugind("plugin", "status", "smb", address=api.address)
    assert done.stderr.startswith("Error: no plugin 'smb'")
    done = plugind("plugin", "forget", "declared", address=api.address)
    assert "It stays listed as unhealthy: the configuration of the server" in done.stdout
    assert lines("node", "forget", "vm2", address=api.address)


def test_watching(api: Live, agent: FakeAgent) -> None:
    """Answer a query with an index; test_watching.py tests all that follows the first answer."""
    with Client(api.address) as client:
        answer = client.plugin("csi", "aws-ebs0")
        assert answer.index > 1
        assert client.plugin("csi", "aws-ebs0", index=answer.index, wait=0.01).value == answer.value


def test_a_list_as_json(api: Live, agent: FakeAgent) -> None:
    shown = json.loads(plugind("plugin", "status", "--json", address=api.address).stdout)
    assert shown == {type_: api.call("GET", f"/v1/plugins?type={type_}").json for type_ in shown}
    assert [row["ID"] for row in shown["csi"]] == ["aws-ebs0", "declared", "nfs", "smb"]


def test_one_plugin_as_json_has_one_shape(api: Live, agent: FakeAgent) -> None:
    done = plugind("plugin", "status", "aws-ebs0", "--json", address=api.address)
    shown = json.loads(done.stdout)
    assert (shown["NodesHealthy"], shown["NodesExpected"]) == (1, 2)
    assert shown["ControllerRequired"] is False
    assert shown["Allocations"] == []
    info = shown["Nodes"][agent.node_id]["NodeInfo"]
    assert info["AccessibleTopology"] == {"Segments": {"zone": "a"}}


def test_a_token_that_may_read_and_not_list_counts_what_there_is(tmp_path: Path, wire: str) -> None:
    config = acl_config(tmp_path, 'capabilities = ["csi-read-plugin", "csi-register-plugin"]')
    with (
        serving(tmp_path, live=True, config=config, wire=wire) as api,
        Client(address(api)) as client,
    ):
        FakeAgent(api).report({"nfs": {"controller": up(), "node": down()}})
        with pytest.raises(Refused):
            client.plugins("csi")
        body = client.plugin("csi", "nfs").value
    assert (body["ControllersHealthy"], body["ControllersExpected"]) == (1, 1)
    assert (body["NodesHealthy"], body["NodesExpected"]) == (0, 1)
