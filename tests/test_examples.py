"""The packages in examples/ in use, installed next to plugind like any third-party package."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from plugind.client import Client
from tests.processes import Machine, machine
from tests.promises import COMMAND_MAXIMUM
from tests.support import eventually
from tests.test_floors import AUTHORS_FACE, PUBLIC_FACE, ROOT, imports, room

PACKAGES = ("docker-plugins", "grpc-health", "webhook")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the packages with pip from a copy, because building leaves files behind."""
    folder = tmp_path_factory.mktemp("examples")
    for name in PACKAGES:
        shutil.copytree(ROOT / "examples" / name, folder / name)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"),
            *("--no-build-isolation", "--disable-pip-version-check", "--target", folder / "site"),
            *(folder / name for name in PACKAGES),
        ],
        check=True,
        timeout=COMMAND_MAXIMUM,
    )
    return folder / "site"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


@pytest.fixture
def posted() -> Iterator[tuple[str, list[Any]]]:
    """Yield a webhook's URL, and the list of documents posted to it."""
    documents: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            documents.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", documents
        server.shutdown()
        thread.join()


def test_docker_and_the_webhook_at_work(
    here: Machine, installed: Path, posted: tuple[str, list[Any]]
) -> None:
    url, documents = posted
    sockets = here.folder / "run"
    sockets.mkdir()
    process = here.start(
        *("agent", "--server-enabled", "true", "--client-enabled", "true", "--ports-http", "0"),
        *("--data-dir", here.folder / "data", "--name", "vm", "--plugin-types-enabled", "docker"),
        environ={
            "PYTHONPATH": str(installed),
            "WEBHOOK_URL": url,
            "PLUGIND_PLUGIN_TYPE_DOCKER_SOCKETS": str(sockets),
        },
    )
    address = eventually(lambda: re.search(r"address=(http://\S+)", process.logged))
    client = Client(address[1])
    sample = subprocess.Popen(
        [sys.executable, "-m", "plugind_docker.sample", sockets / "flocker.sock", "NetworkDriver"],
        env={"PYTHONPATH": str(installed)},
    )
    try:
        eventually(lambda: client.plugins("docker").value)
        eventually(lambda: client.plugins("docker").value[0]["NodesHealthy"] == 1)
        (row,) = client.plugins("docker").value
        assert (row["ID"], row["Implements"]) == ("flocker", ["NetworkDriver"])
    finally:
        sample.kill()
        sample.wait()
    eventually(lambda: client.plugins("docker").value[0]["NodesHealthy"] == 0)

    def described() -> str:
        (one,) = client.plugin("docker", "flocker").value["Nodes"].values()
        return str(one["HealthDescription"])

    # A probe that was running when the plugin was killed gives another reason.
    eventually(lambda: "connection refused (is the plugin running?)" in described())
    eventually(lambda: len(documents) >= 2)
    kinds = [each["kind"] for document in documents for each in document["instances"]]
    assert (kinds[0], kinds[-1]) == ("came", "unhealthy")
    index = client.plugin("docker", "flocker").index
    eventually(lambda: documents[-1]["index"] == index)
    assert documents[-1]["instances"][0]["reason"] == described()
    assert process.stop() == 0


def test_grpc_at_work(here: Machine, installed: Path) -> None:
    """Check that a configured service is shown from the start, though nothing listens yet."""
    socket = here.folder / "billing.sock"
    config = here.folder / "agent.hcl"
    config.write_text(
        f'plugin_type "grpc" {{ service "billing" {{ endpoint = "unix://{socket}" }} }}'
    )
    process = here.start(
        *("agent", "--server-enabled", "true", "--client-enabled", "true", "--ports-http", "0"),
        *("--data-dir", here.folder / "data", "--name", "vm", "--plugin-types-enabled", "grpc"),
        *("--config", config),
        environ={"PYTHONPATH": str(installed)},
    )
    address = eventually(lambda: re.search(r"address=(http://\S+)", process.logged))
    client = Client(address[1])

    def counted() -> list[tuple[str, int, int]]:
        rows = client.plugins("grpc").value
        return [(row["ID"], row["NodesHealthy"], row["NodesExpected"]) for row in rows]

    eventually(lambda: counted() == [("billing", 0, 1)])
    (one,) = client.plugin("grpc", "billing").value["Nodes"].values()
    assert one["HealthDescription"].startswith("Check failed: UNAVAILABLE")
    sample = subprocess.Popen(
        [sys.executable, "-m", "plugind_grpc_health.sample", socket],
        env={"PYTHONPATH": str(installed)},
    )
    try:
        eventually(lambda: counted() == [("billing", 1, 1)])
    finally:
        sample.kill()
        sample.wait()
    eventually(lambda: counted() == [("billing", 0, 1)])
    assert process.stop() == 0


@pytest.mark.parametrize("name", PACKAGES)
def test_they_use_the_public_modules_only(name: str) -> None:
    """Check that examples import public modules only, and their tests plugind.testing as well."""
    folder = ROOT / "examples" / name
    tests = {path for path in folder.rglob("*.py") if "tests" in path.relative_to(folder).parts}
    used = {
        imported
        for path in tests
        for imported in imports(ast.parse(path.read_text()))
        if imported.startswith("plugind.")
    }
    assert {room(each) for each in used} <= AUTHORS_FACE
    modules = [path for path in folder.rglob("*.py") if path not in tests]
    used = {
        imported
        for path in modules
        for imported in imports(ast.parse(path.read_text()))
        if imported.startswith("plugind.")
    }
    assert used
    assert {room(each) for each in used} <= PUBLIC_FACE
