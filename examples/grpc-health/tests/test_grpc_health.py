"""Services are asked over gRPC, and their answers, or the lack of one, are shown."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plugind_grpc_health import STATUSES, GrpcType
from plugind_grpc_health.health_pb2 import HealthCheckResponse
from plugind_grpc_health.prober import GrpcProber

from plugind.model import Fingerprint
from plugind.testing import LiveServer, Verdict, eventually, run_agent
from tests.conftest import Serve

HERE = Path(__file__).parent.parent
Make = Callable[..., GrpcProber]


def probe(prober: GrpcProber, id: str) -> dict[str, Any]:
    (((name, role), fingerprint),) = prober.probe(prober.discover()[id]).items()
    assert (name, role) == (id, "node")
    return dict(fingerprint)


def test_it_keeps_the_rules(plugind_verdict: Verdict) -> None:
    assert plugind_verdict.passed, str(plugind_verdict)


def test_a_service_says_how_it_is(folder: Path, serve: Serve, make: Make) -> None:
    sample = serve("a.sock")
    sample.statuses["search"] = HealthCheckResponse.NOT_SERVING
    endpoint = f"unix://{folder}/a.sock"
    prober = make(
        all={"endpoint": endpoint},
        search={"endpoint": endpoint, "service": "search"},
        other={"endpoint": endpoint, "service": "other"},
    )
    found = probe(prober, "all")
    process = found.pop("Process")
    assert process["Name"].endswith(f"[{os.getpid()}]")
    assert found == {
        "Healthy": True,
        "HealthDescription": "healthy",
        "Endpoint": endpoint,
        "Status": "SERVING",
    }
    assert probe(prober, "search")["HealthDescription"] == "the service says NOT_SERVING"
    assert probe(prober, "other")["HealthDescription"] == "Check failed: NOT_FOUND: no such service"
    sample.go.clear()
    assert probe(prober, "all")["HealthDescription"] == "no answer to Check within 500ms"


def test_a_service_that_does_not_answer_is_listed(folder: Path, make: Make) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(folder / "mute.sock"))
        mute.listen()
        prober = make(
            mute={"endpoint": f"unix://{folder}/mute.sock"},
            none={"endpoint": f"unix://{folder}/none.sock"},
        )
        for id in ("mute", "none"):
            found = probe(prober, id)
            assert not found["Healthy"]
            assert found["HealthDescription"].startswith(("Check failed: ", "no answer to Check"))


def test_it_is_served(folder: Path, serve: Serve, plugind_server: LiveServer) -> None:
    config = f"""
        plugin_type "grpc" {{
          service "billing" {{
            endpoint       = "unix://{folder}/billing.sock"
            probe_interval = "50ms"
          }}
        }}
    """
    client = plugind_server.client

    def health() -> tuple[int, int]:
        rows = client.plugins("grpc").value
        return (rows[0]["NodesHealthy"], rows[0]["NodesExpected"]) if rows else (0, 0)

    with run_agent(plugind_server.address, config, types="grpc"):
        eventually(lambda: health() == (0, 1))
        sample = serve("billing.sock")
        eventually(lambda: health() == (1, 1))
        assert client.plugins("grpc").value[0]["Statuses"] == ["SERVING"]
        sample.stop()
        eventually(lambda: health() == (0, 1))


def test_a_plugin_has_the_statuses_of_all_nodes() -> None:
    fingerprints = [
        Fingerprint(True, "", 0, details={"Status": status}) for status in ("SERVING", "")
    ]
    assert GrpcType().summary({"node": fingerprints}) == {"Statuses": ["SERVING"]}
    assert set(STATUSES) == {"", *HealthCheckResponse.ServingStatus.keys()}


def test_the_modules_are_those_of_the_proto(tmp_path: Path) -> None:
    proto = "plugind_grpc_health/health.proto"
    kinds = ("python", "pyi", "grpc_python")
    outputs = [f"--{kind}_out={tmp_path}" for kind in kinds]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, proto]
    subprocess.run(command, cwd=HERE, check=True, timeout=60)
    made = sorted((tmp_path / "plugind_grpc_health").iterdir())
    assert len(made) == len(kinds)
    for file in made:
        assert (HERE / "plugind_grpc_health" / file.name).read_text() == file.read_text()
