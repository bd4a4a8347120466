"""python-nomad, a third-party client for Nomad, against a live server with ACLs on."""

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
from tests.wire.recorded_server import ACCESSORS, MANAGEMENT, SECRETS, served

ALLOCATION = "5dd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac001"
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
    """Return the client of a token's owner; "" has no token."""
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


def test_fuzzy_search(manager: Any, reader: Any, agent: FakeAgent) -> None:
    found = manager.search.fuzzy_search("BS", "plugins")["Matches"]
    assert found == {"plugins": [{"ID": id_, "Scope": None} for id_ in ("ebs0", "ebs1")]}
    nodes = manager.search.fuzzy_search("vm", "all")["Matches"]["nodes"]
    assert nodes == [{"ID": "vm1", "Scope": [agent.node_id]}]
    assert "nodes" not in reader.search.fuzzy_search("vm", "all")["Matches"]


def test_allocations(manager: Any, reader: Any, api: Live) -> None:
    node = FakeAgent(api, name="vm2", token=SECRETS[MANAGEMENT])
    about = {"Name": "smb.smb[7]", "JobID": "smb.service", "TaskGroup": "smb"}
    report = node.report({"smb": {"node": up(AllocID=ALLOCATION)}}, Allocations={ALLOCATION: about})
    assert report.json["Rejected"] == []
    for each in (manager, reader):
        (stub,) = each.allocations.get_allocations(prefix=ALLOCATION[:8])
        assert (stub["ID"], stub["NodeName"]) == (ALLOCATION, "vm2")
        assert len(each.allocations) == len(list(each.allocations)) == 1
        assert each.allocation[ALLOCATION]["JobID"] == "smb.service"
        assert ALLOCATION in each.allocation
        assert "11111111-2222-3333-4444-555555555555" not in each.allocation
    assert manager.node.get_allocations(node.node_id)[0]["ID"] == ALLOCATION
    api.call("DELETE", f"/v1/node/{node.node_id}", headers=node.headers)


def test_acls(manager: Any, reader: Any) -> None:
    assert [policy["Name"] for policy in manager.acl.get_policies()] == ["listers", "readers"]
    assert 'policy = "read"' in manager.acl.get_policy("readers")["Rules"]
    assert manager.acl.get_self_token()["Type"] == "management"
    own = reader.acl.get_self_token()
    assert (own["Policies"], own["SecretID"]) == (["readers"], SECRETS[READERS])
    assert [policy["Name"] for policy in reader.acl.get_policies()] == ["readers"]
    with pytest.raises(URLNotFoundNomadException):
        manager.acl.get_policy("nobody")
    tokens = {token["Name"]: token for token in manager.acl.get_tokens()}
    assert sorted(tokens) == ["Bootstrap Token", "listers", "readers"]
    assert not any("SecretID" in token for token in tokens.values())
    assert [token["Name"] for token in reader.acl.get_tokens()] == ["readers"]
    for each in (manager, reader):
        found = each.acl.get_token(tokens["readers"]["AccessorID"])
        assert (found["Policies"], found["SecretID"]) == (["readers"], "")
    with pytest.raises(URLNotFoundNomadException):
        manager.acl.get_token("11111111-2222-3333-4444-555555555555")


def test_status(api: Live, manager: Any) -> None:
    address = api.address.removeprefix("http://")
    assert manager.status.leader.get_leader() == address
    assert manager.status.peers.get_peers() == manager.agent.get_servers() == [address]
    assert manager.regions.get_regions() == ["global"]
    assert "default" in manager.namespaces
    assert manager.namespace.get_namespace("default")["Name"] == "default"
    assert "default" in manager.namespace
    assert "apps" not in manager.namespace
    (member,) = manager.agent.get_members()["Members"]
    assert f"{member['Tags']['rpc_addr']}:{member['Tags']['port']}" == address
    assert manager.agent.get_agent()["member"] == member


def test_a_client_without_rights(api: Live, reader: Any, session: requests.Session) -> None:
    nobody = client(api, session, "")
    for refused in (
        reader.nodes.get_nodes,
        reader.agent.get_agent,
        lambda: reader.acl.get_policy("listers"),
        lambda: reader.acl.get_token(ACCESSORS["listers"]),
        nobody.acl.get_self_token,
        nobody.acl.get_policies,
        nobody.acl.get_tokens,
        nobody.allocations.get_allocations,
        lambda: nobody.namespace.get_namespace("default"),
        lambda: nobody.search.search("e", "plugins"),
    ):
        with pytest.raises((URLNotAuthorizedNomadException, BaseNomadException)) as raised:
            refused()
        assert raised.value.nomad_resp.status_code == 403


def test_metrics(manager: Any, api: Live, session: requests.Session) -> None:
    found = manager.metrics.get_metrics()
    values = {each["Name"]: each["Value"] for each in found["Gauges"] if not each["Labels"]}
    assert values["plugind.store_writable"] == 1
    with pytest.raises(URLNotAuthorizedNomadException):
        client(api, session, READERS).metrics.get_metrics()
