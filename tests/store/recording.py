"""Record a database and a server's answers from it, for the tests of later versions.

Run it with the plugind whose schema is to be kept, before the schema changes:

    python tests/store/recording.py .venv/bin/plugind

It writes ``databases/schema-N.sql`` and ``schema-N.json``; test_migration.py finds them there.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import requests

from tests.promises import PATIENCE, eventually

FOLDER = Path(__file__).parent / "databases"
CONFIG = """\
server {
  heartbeat_ttl = "2s"
}
plugin_types {
  enabled = ["csi"]
}
plugin "csi" "declared" {
  controllers_expected = 3
  nodes_expected       = 16
}
plugin "csi" "ebs0" {
  nodes_expected = 3
}
"""
ONE, TWO, THREE = (f"{number}" * 8 + "-2222-4333-8444-555555555555" for number in (1, 2, 3))
READS = (
    "/v1/plugins?type=csi",
    *(
        f"/v1/plugin/csi/{name}"
        for name in ("ebs0", "nfs", "old", "bare", "lonely", "declared", "forgotten", "unknown")
    ),
    "/v1/nodes",
    *(f"/v1/node/{node_id}" for node_id in (ONE, TWO, THREE)),
)


def ebs(zone: str, **more: Any) -> dict[str, Any]:
    """Return both halves of a driver, with fingerprints that have every field."""
    fingerprint = {
        "Healthy": True,
        "HealthDescription": "healthy",
        "Provider": "ebs.csi.aws.com",
        "ProviderVersion": "v1.2.3",
        "RequiresControllerPlugin": True,
        "RequiresTopologies": True,
        "AllocID": "5dd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac001",
        **more,
    }
    controller = {"SupportsAttachDetach": True, "SupportsListVolumes": True, "SupportsClone": True}
    node = {
        "ID": f"i-{zone}",
        "MaxVolumes": 9223372036854775807,
        "AccessibleTopology": {"Segments": {"zone": zone, "rack": "ä7"}},
        "RequiresNodeStageVolume": True,
    }
    return {
        "controller": {**fingerprint, "ControllerInfo": controller},
        "node": {**fingerprint, "NodeInfo": node},
    }


class Recorder:
    """A server, and the simulated agents of three nodes."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.digests: dict[str, str] = {}

    def report(self, node_id: str, name: str, plugins: dict[str, Any], **more: Any) -> None:
        body = {"Name": name, "Version": "0.1.0", "Plugins": {"csi": plugins}, **more}
        answer = self._put(f"/v1/node/{node_id}", node_id, body)
        assert not answer["Rejected"], answer
        self.digests[node_id] = answer["Digest"]

    def beat(self, *node_ids: str) -> None:
        for each in node_ids:
            self._put(f"/v1/node/{each}/heartbeat", each, {"Digest": self.digests[each]})

    def _put(self, path: str, node_id: str, body: Any) -> Any:
        headers = {"X-Plugind-Node-Secret": secret(node_id)}
        answer = requests.put(self.address + path, json=body, headers=headers, timeout=PATIENCE)
        answer.raise_for_status()
        return answer.json()

    def status(self, node_id: str) -> str:
        node = requests.get(f"{self.address}/v1/node/{node_id}", timeout=PATIENCE).json()
        found: str = node["Status"]
        return found

    def answers(self) -> list[dict[str, Any]]:
        got = [requests.get(self.address + path, timeout=PATIENCE) for path in READS]
        return [
            {
                "path": path,
                "status": each.status_code,
                "index": int(each.headers["X-Nomad-Index"]),
                "body": each.text,
            }
            for path, each in zip(READS, got, strict=True)
        ]


def secret(node_id: str) -> str:
    """Return the secret of a node's agent, as used in the recordings."""
    return f"the secret of {node_id}"


def live(at: Recorder) -> None:
    """Make many kinds of changes: an upgrade, failures, losses, a node down and up, a forget."""
    where = {"Datacenter": "dc2", "Address": "10.0.0.1", "Meta": {"rack": "ä7"}}
    where["Attributes"] = {"os.name": "debian", "kernel.name": "linux"}
    bare = {"node": {"Healthy": True}}
    old = {"node": {"Healthy": True, "Provider": "old.example", "HealthDescription": "fine"}}
    failing = {
        "Healthy": False,
        "HealthDescription": 'Probe failed: "böse" 💾',
        "Provider": "nfs.example",
        "UpdateTime": "2026-01-31T23:00:00.000000005Z",
    }
    first = {"ebs0": ebs("z1"), "old": old, "bare": bare, "forgotten": bare}
    at.report(ONE, "vm one", first, **where)
    at.report(TWO, "vm2", {"ebs0": ebs("z2", ProviderVersion="v1.3.0"), "nfs": {"node": failing}})
    at.report(THREE, "vm3", {"ebs0": ebs("z3"), "lonely": {"node": failing}})
    at.report(ONE, "vm one", {**first, "forgotten": {"node": failing}}, **where)
    requests.delete(f"{at.address}/v1/plugin/csi/forgotten", timeout=PATIENCE).raise_for_status()
    at.report(ONE, "vm one", {"ebs0": ebs("z1"), "bare": {"node": {"Healthy": False}}}, **where)
    eventually(lambda: at.beat(ONE) or at.status(TWO) == at.status(THREE) == "down")
    nfs = {"node": failing, "controller": {**failing, "Healthy": True, "HealthDescription": ""}}
    at.report(TWO, "vm2", {"ebs0": ebs("z2", ProviderVersion="v1.3.0"), "nfs": nfs})


def record(plugind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config, log = Path(folder) / "config.hcl", Path(folder) / "log"
        config.write_text(CONFIG)
        with log.open("wb") as stream:
            server = subprocess.Popen(
                [
                    *(plugind, "agent", "--config", config, "--data-dir", folder),
                    *("--server-enabled", "true", "--ports-http", "0"),
                ],
                stderr=stream,
            )
        try:
            eventually(lambda: "pid=" in log.read_text())
            found = re.search(r"address=(\S+)", log.read_text())
            assert found
            at = Recorder(found[1])
            live(at)
            at.beat(ONE, TWO)
            answers = at.answers()
        finally:
            server.terminate()
            server.wait(PATIENCE)
        write(Path(folder) / "plugind.db", answers)


def write(database: Path, answers: list[dict[str, Any]]) -> None:
    with closing(sqlite3.connect(database)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (index,) = db.execute("SELECT last_index FROM store").fetchone()
        dump = "\n".join([*db.iterdump(), f"PRAGMA user_version = {version};\n"])
    assert index == max(each["index"] for each in answers), "something happened meanwhile"
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"schema-{version}.sql").write_text(dump)
    recorded = {"config": CONFIG, "index": index, "answers": answers}
    text = json.dumps(recorded, indent=1, ensure_ascii=False)
    (FOLDER / f"schema-{version}.json").write_text(text + "\n")


if __name__ == "__main__":
    record(sys.argv[1])
