"""A live server with two plugins, one of them unhealthy, for the tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Api, FakeAgent, Live, down, serving, up

REASON = "Probe failed: FAILED_PRECONDITION: the disk of the array in rack seven is on fire"
SINCE = "2026-01-31T23:00:00Z"
NEVER_DOWN = {"server_heartbeat_ttl": "1h"}
"""A time to live for nodes that no agent keeps alive, however slow the machine is."""

NODE = "abcdef01-2222-4333-8444-555555555555"


def acl_config(folder: Path, in_namespace: str) -> str:
    """Return a configuration that requires no token for what a namespace rule allows."""
    (folder / "policies").mkdir()
    policy = f'namespace "default" {{ {in_namespace} }}'
    (folder / "policies/anonymous.hcl").write_text(policy)
    (folder / "tokens.hcl").write_text("")
    return f"""acl {{
  enabled = true
  policies = "{folder}/policies"
  tokens = "{folder}/tokens.hcl"
}}"""


def address(api: Api) -> str:
    """Return the address of a live server."""
    assert isinstance(api, Live)
    return api.address


@pytest.fixture(params=["nomad", "document"])
def wire(request: pytest.FixtureRequest) -> str:
    """Return how the server answers: ``api`` is used with both."""
    return str(request.param)


@pytest.fixture
def api(tmp_path: Path, wire: str) -> Iterator[Live]:
    config = 'plugin "csi" "declared" {\n  nodes_expected = 2\n}\n'
    with serving(tmp_path, live=True, config=config, wire=wire, **NEVER_DOWN) as served:
        assert isinstance(served, Live)
        yield served


@pytest.fixture
def agent(api: Live) -> FakeAgent:
    """Return an agent that has reported; a second one has reported on "vm2" in "dc2"."""
    topology = {"NodeInfo": {"ID": "i-1", "AccessibleTopology": {"Segments": {"zone": "a"}}}}
    agent = FakeAgent(api, NODE, name="vm1")
    agent.report(
        {
            "aws-ebs0": {
                "controller": up(Provider="ebs.example", RequiresControllerPlugin=True),
                "node": down(REASON, UpdateTime=f"{SINCE[:-1]}.123456789Z", **topology),
            },
            "nfs": {"node": up(Provider="nfs.example", ProviderVersion="1.2", AllocID="one")},
        },
        Allocations={"one": {"Name": "nfs.service[7]", "JobID": "nfs.service", "TaskGroup": "x"}},
    )
    other = FakeAgent(api, name="vm2")
    other.report(
        {"aws-ebs0": {"node": up()}, "smb": {"node": down("smb is down")}}, Datacenter="dc2"
    )
    return agent
