"""python-nomad, a client that others wrote for Nomad, against a live server with ACLs on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import nomad
import pytest
import requests
from nomad.api.exceptions import (
    BaseNomadException,
    URLNotAuthorizedNomadException,
    URLNotFoundNomadException,
)

from tests.support import FakeAgent, Live, up
from tests.wire.held import MANAGEMENT, SECRETS, served

READERS = "<client token of policy readers>"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with served(tmp_path_factory.mktemp("python-nomad") / "server") as api:
        yield api


@pytest.fixture(scope="module")
def agent(api: Live) -> FakeAgent:
    made = FakeAgent(api, token=SECRETS[MANAGEMENT])
    plugins = {"ebs0": {"node": up()}, "ebs1": {"controller": up()}, "nfs": {"node": up()}}
    assert made.report(plugins, Attributes={"os.name": "debian"}).status == 200
    return made


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with closing(requests.Session()) as made:
        yield made


def client(api: Live, session: requests.Session, holder: str) -> Any:
    """The client as the holder of a token would make it; "" holds none."""
    token = SECRETS.get(holder)
    return nomad.Nomad(address=api.address, token=token, region="global", session=session)


@pytest.fixture
def manager(api: Live, agent: FakeAgent, session: requests.Session) -> Any:
    return client(api, session, MANAGEMENT)


@pytest.fixture
def reader(api: Live, agent: FakeAgent, session: requests.Session) -> Any:
    return client(api, session, READERS)


def test_nodes(manager: Any, agent: FakeAgent) -> None:
    (node,) = manager.nodes.get_nodes(prefix=agent.node_id[:5], resources=True, os=True)
    assert (node["ID"], node["Attributes"]) == (agent.node_id, {"os.name": "debian"})
    assert node["NodeResources"]["Cpu"] == {"CpuShares": 0}
    assert agent.node_id in manager.nodes
    assert manager.nodes["vm1"]["Status"] == "ready"
    assert manager.nodes.get_nodes(filter_='Status != "ready"') == []
    assert sorted(manager.node[agent.node_id]["CSINodePlugins"]) == ["ebs0", "nfs"]
    assert manager.node.get_allocations(agent.node_id) == []
    assert "11111111-2222-3333-4444-555555555555" not in manager.node


def test_search(manager: Any, reader: Any, agent: FakeAgent) -> None:
    assert manager.search.search("ebs", "plugins")["Matches"] == {"plugins": ["ebs0", "ebs1"]}
    found = manager.search.search(agent.node_id[:3], "all")
    assert found["Matches"]["nodes"] == [agent.node_id]
    assert not any(found["Truncations"].values())
    assert reader.search.search("nfs", "all")["Matches"]["plugins"] == ["nfs"]


def test_acls(manager: Any, reader: Any) -> None:
    assert [policy["Name"] for policy in manager.acl.get_policies()] == ["listers", "readers"]
    assert 'policy = "read"' in manager.acl.get_policy("readers")["Rules"]
    assert manager.acl.get_self_token()["Type"] == "management"
    own = reader.acl.get_self_token()
    assert (own["Policies"], own["SecretID"]) == (["readers"], SECRETS[READERS])
    assert [policy["Name"] for policy in reader.acl.get_policies()] == ["readers"]
    with pytest.raises(URLNotFoundNomadException):
        manager.acl.get_policy("nobody")


def test_status(api: Live, manager: Any) -> None:
    address = api.address.removeprefix("http://")
    assert manager.status.leader.get_leader() == address
    assert manager.status.peers.get_peers() == manager.agent.get_servers() == [address]
    assert manager.regions.get_regions() == ["global"]
    assert "default" in manager.namespaces
    (member,) = manager.agent.get_members()["Members"]
    assert f"{member['Tags']['rpc_addr']}:{member['Tags']['port']}" == address
    assert manager.agent.get_agent()["member"] == member


def test_who_may_not(api: Live, reader: Any, session: requests.Session) -> None:
    nobody = client(api, session, "")
    for refused in (
        reader.nodes.get_nodes,
        reader.agent.get_agent,
        lambda: reader.acl.get_policy("listers"),
        nobody.acl.get_self_token,
        nobody.acl.get_policies,
        lambda: nobody.search.search("e", "plugins"),
    ):
        with pytest.raises((URLNotAuthorizedNomadException, BaseNomadException)) as raised:
            refused()
        assert raised.value.nomad_resp.status_code == 403
