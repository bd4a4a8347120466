"""``plugind plugin status --unhealthy``, ``--node`` and ``--datacenter``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import NODE, REASON, acl_config, address
from tests.support import FakeAgent, Live, down, serving, up
from tests.test_cli import plugind


@pytest.fixture
def wire() -> str:
    return "nomad"


def ids(api: Live, *options: str) -> list[str]:
    """Return the IDs that are shown, which must be the same for people and for programs."""
    done = plugind("plugin", "status", *options, address=api.address)
    assert (done.returncode, done.stderr) == (0, "")
    table = done.stdout.partition("\n\n")[0].splitlines()[1:]
    shown = [line.split()[1] for line in table]
    done = plugind("plugin", "status", *options, "--json", address=api.address)
    rows = [row["ID"] for rows in json.loads(done.stdout).values() for row in rows]
    assert shown == rows
    return rows


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ((), ["aws-ebs0", "declared", "nfs", "smb"]),
        (("--unhealthy",), ["aws-ebs0", "declared", "smb"]),
        (("--node", "vm1"), ["aws-ebs0", "nfs"]),
        (("--node", NODE[:8]), ["aws-ebs0", "nfs"]),
        (("--node", NODE), ["aws-ebs0", "nfs"]),
        (("--node", "vm2"), ["aws-ebs0", "smb"]),
        (("--node", "vm2", "--unhealthy"), ["smb"]),
        (("--datacenter", "dc2"), ["aws-ebs0", "smb"]),
        (("--datacenter", "dc1", "--unhealthy"), ["aws-ebs0"]),
        (("--datacenter", "dc2", "--node", "vm1"), []),
        (("--type", "exec", "--unhealthy"), []),
    ],
)
def test_lists(api: Live, agent: FakeAgent, options: tuple[str, ...], wanted: list[str]) -> None:
    assert ids(api, *options) == wanted


def test_reasons_are_of_the_nodes_that_are_asked_for(api: Live, agent: FakeAgent) -> None:
    one, other = (
        plugind("plugin", "status", "--node", name, address=api.address).stdout
        for name in ("vm1", "vm2")
    )
    assert REASON in one
    assert "smb is down" not in one
    assert REASON not in other
    assert "smb is down" in other


def test_one_plugin_shows_only_the_instances_asked_for(api: Live, agent: FakeAgent) -> None:
    def nodes(*options: str) -> list[str]:
        done = plugind("plugin", "status", "aws-ebs0", *options, address=api.address)
        return [line.split()[0] for line in done.stdout.splitlines() if line.startswith("vm")]

    assert sorted(nodes()) == ["vm1", "vm1", "vm2"]
    assert nodes("--unhealthy") == ["vm1"]
    assert nodes("--datacenter", "dc2") == ["vm2"]
    words = ("plugin", "status", "aws-ebs0", "--unhealthy", "--json")
    body = json.loads(plugind(*words, address=api.address).stdout)
    assert (list(body["Controllers"]), list(body["Nodes"])) == ([], [NODE])
    assert body["NodesExpected"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--node", "vm3"), "no node 'vm3'; did you mean 'vm2' or 'vm1'?"),
        (("--node", "xyzzy"), "no node 'xyzzy'; 'plugind node status' lists all nodes"),
        (("--datacenter", "dc3"), "no node in datacenter 'dc3'; did you mean \"dc2\"?"),
        (("--datacenter", "xyzzy"), "no node in datacenter 'xyzzy'; use one of: dc1, dc2"),
        (("--type", "cis"), "no plugin type 'cis' on the server; did you mean \"csi\"?"),
        (("--type", "xyzzy"), "no plugin type 'xyzzy' on the server; use one of: cni, csi, exec"),
        (("cis/aws-ebs0",), "no plugin type 'cis' on the server; did you mean \"csi\"?"),
        (
            ("exec/x", "--type", "csi"),
            "'exec/x' is of type 'exec', but --type says 'csi': use only",
        ),
        (("xyzzy/x", "--type", "csi"), "'xyzzy/x' is of type 'xyzzy', but --type says 'csi'"),
        (("aws-ebs1",), "no plugin 'aws-ebs1'; did you mean 'aws-ebs0'?"),
        (("csi/NFS",), "no plugin 'csi/NFS'; did you mean 'nfs'?"),
        (("exec/nfs",), "no plugin 'exec/nfs'; 'plugind plugin status' lists all plugins"),
    ],
)
def test_near_names_are_suggested(
    api: Live, agent: FakeAgent, words: tuple[str, ...], message: str
) -> None:
    done = plugind("plugin", "status", *words, address=api.address)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {message}")
    assert done.stderr.count("\n") == 1


def test_near_names_where_something_is_forgotten(api: Live, agent: FakeAgent) -> None:
    done = plugind("plugin", "forget", "nsf", address=api.address)
    assert done.stderr == "Error: no plugin 'nsf'; did you mean 'nfs'?\n"
    done = plugind("node", "forget", "vn1", address=api.address)
    assert done.stderr.startswith("Error: no node 'vn1'; did you mean 'vm1'")


def test_a_type_that_agrees_is_no_contradiction(api: Live, agent: FakeAgent) -> None:
    done = plugind("plugin", "status", "csi/nfs", "--type", "csi", address=api.address)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_the_right_to_read_nodes_names_come_from_allocations(tmp_path: Path) -> None:
    config = acl_config(tmp_path, 'policy = "read"  capabilities = ["csi-register-plugin"]')
    with serving(tmp_path, live=True, config=config) as api:
        one, other = FakeAgent(api, name="vm1"), FakeAgent(api, name="vm2")
        described = {"one": {"Name": "nfs.service[7]", "JobID": "nfs.service", "TaskGroup": "x"}}
        one.report({"nfs": {"node": down("it is ill", AllocID="one")}}, Allocations=described)
        other.report({"nfs": {"node": down("it is worse")}})
        done = plugind("plugin", "status", address=address(api))
        assert (done.returncode, done.stderr) == (0, "")
        rows = [line.split() for line in done.stdout.splitlines()]
        nodes = {line[3] for line in rows if "ill" in line or "worse" in line}
        assert nodes == {"vm1", other.node_id}
        other.report({"nfs": {"node": up()}})
        assert plugind("plugin", "status", "nfs", address=address(api)).returncode == 0
        done = plugind("plugin", "status", "--node", "vm1", address=address(api))
        assert done.returncode == 1
        assert "Permission denied" in done.stderr
