"""Commands of Nomad's command line that use the output of other commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.api.gate import MANAGEMENT, gate
from tests.support import Api, FakeAgent, down, serving, up
from tests.wire.commands import Failed, alloc_status, check, status

ONE = "5dd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac001"
TWO = "6dd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac002"
OTHER = "7dd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac003"
NODE = "2f8d0c5e-6f7b-4e0a-9a53-1f6f4f0c8a11"
NFS: Mapping[str, Any] = {
    "Name": "csi-nfs.service.nfsplugin[7]",
    "JobID": "csi-nfs.service",
    "TaskGroup": "nfsplugin",
    "CreateTime": 1_700_000_000_000_000_007,
}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path, live=True) as served:
        yield served


@pytest.fixture
def agent(api: Api) -> FakeAgent:
    return filled(api)


def filled(api: Api, token: str = "") -> FakeAgent:
    """Report two CSI drivers and a check of type exec, each with its own process."""
    made = FakeAgent(api, NODE, token=token)
    plugins = {
        "csi": {"nfs": {"node": up(AllocID=ONE)}, "ebs0": {"node": down("no disk", AllocID=TWO)}},
        "exec": {"disk": {"check": up(AllocID=OTHER)}},
    }
    bare: dict[str, Any] = {"Name": "disk", "JobID": "", "TaskGroup": ""}
    described = {ONE: NFS, TWO: {**NFS, "Name": "ebs", "TaskGroup": "ebs"}, OTHER: bare}
    assert made.report({}, Plugins=plugins, Allocations=described).json["Rejected"] == []
    return made


def test_alloc_status_takes_the_ids_that_plugin_status_prints(api: Api, agent: FakeAgent) -> None:
    (stub,) = api.call("GET", "/v1/plugin/csi/nfs").json["Allocations"]
    for id_ in (stub["ID"], stub["ID"][:8], stub["ID"][:2]):
        lines = alloc_status(api, id_)
        assert f"ID = {ONE}" in lines
        assert "Name = csi-nfs.service.nfsplugin[7]" in lines
        assert f"NodeID = {agent.node_id}" in lines
        assert 'Task "nfsplugin" is "running"' in lines
        assert "StartedAt = 2023-11-14T22:13:20.000000007Z" in lines
        assert "1700000000000000007 Started: process started" in lines
        assert any(line.endswith("Plugin became healthy: healthy") for line in lines)


def test_alloc_status_says_what_is_wrong_with_a_driver(api: Api, agent: FakeAgent) -> None:
    lines = alloc_status(api, TWO)
    assert "ClientDescription = no disk" in lines
    assert any(line.endswith("Plugin became unhealthy: no disk") for line in lines)
    agent.report({"nfs": {"node": down("it is dead")}})
    lines = alloc_status(api, ONE)
    assert {"ClientStatus = failed", 'Task "nfsplugin" is "dead"'} <= set(lines)
    assert any(line.startswith("FinishedAt = ") for line in lines)


def test_a_process_of_which_little_is_known(api: Api, agent: FakeAgent) -> None:
    lines = alloc_status(api, OTHER)
    assert 'Task "driver" is "running"' in lines
    assert not any(line.startswith(("StartedAt", "FinishedAt")) for line in lines)


def test_missing_ids(api: Api, agent: FakeAgent) -> None:
    with pytest.raises(Failed, match="No allocation"):
        alloc_status(api, "ffff")
    answer = api.call("GET", "/v1/allocation/ffff")
    assert (answer.status, answer.text) == (404, "alloc not found")
    assert answer.index == api.call("GET", "/v1/nodes").index
    assert api.call("GET", f"/v1/allocation/{ONE[:8]}").status == 404, "an exact ID only"


def test_status_finds_each_by_its_id(api: Api, agent: FakeAgent) -> None:
    assert status(api, ONE[:8]) == ("allocs", [ONE])
    assert status(api, "nfs") == ("plugins", ["nfs"])
    assert status(api, NODE[:8]) == ("nodes", [NODE])
    with pytest.raises(Failed, match="0 contexts"):
        status(api, "ffff")


def test_check(api: Api, agent: FakeAgent) -> None:
    check(api)
    with pytest.raises(Failed):
        check(api, peers=1)


def test_the_processes_that_each_reader_sees(tmp_path: Path) -> None:
    """Show plugins' processes to readers of plugins, and all processes to readers of nodes."""
    made = gate(tmp_path, "csi-read", "exec-read", "plugin-read", "node-read", "csi-list")
    with serving(tmp_path, live=False, config=made.config) as api:
        filled(api, made.secrets[MANAGEMENT])
        seen = {
            "csi-read": [ONE, TWO],
            "exec-read": [OTHER],
            "plugin-read": [ONE, TWO, OTHER],
            "node-read": [ONE, TWO, OTHER],
            MANAGEMENT: [ONE, TWO, OTHER],
        }
        for name, ids in seen.items():
            headers = made.headers(name)
            rows = api.call("GET", "/v1/allocations", headers=headers)
            assert [row["ID"] for row in rows.json] == ids, name
            assert rows.headers["cache-control"] == "no-store"
            assert "etag" not in rows.headers
            for id_ in (ONE, TWO, OTHER):
                answer = api.call("GET", f"/v1/allocation/{id_}", headers=headers)
                assert answer.status == (200 if id_ in ids else 404), (name, id_)
            body = {"Prefix": "", "Context": "allocs"}
            found = api.call("PUT", "/v1/search", body, headers).json["Matches"]
            assert found == {"allocs": ids}
            body = {"Text": "E", "Context": "allocs"}
            assert api.call("PUT", "/v1/search/fuzzy", body, headers).status == 400
            body = {"Text": "dis", "Context": "allocs"}
            fuzzy = api.call("PUT", "/v1/search/fuzzy", body, headers).json["Matches"]["allocs"]
            scope = ["default", OTHER]
            wanted = [{"ID": "disk", "Scope": scope}] if OTHER in ids else []
            assert fuzzy == wanted, name
        nothing = api.call("GET", "/v1/allocations", headers=made.headers("csi-list"))
        assert nothing.status == 403
