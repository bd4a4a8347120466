"""Plugins are found as Docker finds them, and sent the request that Docker sends."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from plugind_docker import DockerType
from plugind_docker.finding import place_of
from plugind_docker.prober import DockerProber

from plugind.errors import ProbeFailed
from plugind.model import Fingerprint
from tests.conftest import Serve

VERSION = "application/vnd.docker.plugins.v1.2+json"


def probe(prober: DockerProber, name: str) -> dict[str, Any]:
    (((id, role), fingerprint),) = prober.probe(prober.discover()[name]).items()
    assert (id, role) == (name, "node")
    return dict(fingerprint)


def why(prober: DockerProber, name: str) -> str:
    with pytest.raises(ProbeFailed) as caught:
        prober.probe(prober.discover()[name])
    return str(caught.value)


def test_a_plugin_says_what_it_implements(folder: Path, serve: Serve, prober: DockerProber) -> None:
    plugin = serve("run/flocker.sock", "VolumeDriver", "NetworkDriver")
    assert probe(prober, "flocker") == {
        "Healthy": True,
        "HealthDescription": "healthy",
        "Implements": ["NetworkDriver", "VolumeDriver"],
        "Address": f"unix://{folder}/run/flocker.sock",
    }
    assert plugin.asked == [f"/Plugin.Activate {VERSION}"]


def test_plugins_are_found_as_docker_finds_them(
    folder: Path, serve: Serve, prober: DockerProber
) -> None:
    serve("run/a.sock")
    serve("run/b/b.sock")
    serve("run/c/other.sock")
    (folder / "run/d.sock").write_text("no socket")
    (folder / "run/e.spec").write_text("unix:///none")
    (folder / "etc/a.spec").write_text("unix:///none")
    (folder / "etc/f.spec").write_text("unix:///f")
    (folder / "etc/f.json").write_text("{}")
    (folder / "lib/f.spec").write_text("unix:///none")
    (folder / "lib/g").mkdir()
    (folder / "lib/g/g.json").write_text('{"Addr": "tcp://localhost:99"}')
    found = prober.discover()
    assert {name: str(each.file.relative_to(folder)) for name, each in found.items()} == {
        "a": "run/a.sock",
        "b": "run/b/b.sock",
        "f": "etc/f.spec",
        "g": "lib/g/g.json",
    }
    assert place_of(found["f"]).path == "/f"
    assert (place_of(found["g"]).host, place_of(found["g"]).port) == ("localhost", 99)


def test_files_lead_to_plugins(folder: Path, serve: Serve, prober: DockerProber) -> None:
    serve("other.sock")
    (folder / "etc/spec.spec").write_text(f"unix://{folder}/other.sock\n")
    (folder / "lib/json.json").write_text(json.dumps({"Addr": f"unix://{folder}/other.sock"}))
    assert probe(prober, "spec")["Implements"] == ["VolumeDriver"]
    assert probe(prober, "json")["Address"] == f"unix://{folder}/other.sock"


def test_a_file_that_changes_is_another_target(folder: Path, prober: DockerProber) -> None:
    (folder / "etc/a.spec").write_text("unix:///one")
    before = prober.discover()
    assert prober.discover() == before
    (folder / "etc/new").write_text("unix:///two")
    (folder / "etc/new").rename(folder / "etc/a.spec")
    assert prober.discover() != before


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("a.spec", "", "has no address such as"),
        ("a.spec", "ftp://host", "has no address such as"),
        ("a.spec", "tcp://host:99999", "has no address: Port out of range"),
        ("a.spec", b"\xff", "is not text"),
        ("a.json", "{", "is not JSON"),
        ("a.json", "[" * 50_000, "is not JSON"),
        ("a.json", "{}", "has no Addr"),
        ("a.json", '{"Addr": "unix:///x", "TLSConfig": {"CAFile": 5}}', "must be texts"),
        ("a.json", '{"Addr": "https://x:1", "TLSConfig": {"CAFile": "/none"}}', "No such file"),
        ("-a.spec", "unix:///x", "its name is not valid as a plugin's ID"),
    ],
)
def test_files_without_a_usable_address_are_reported(
    folder: Path, prober: DockerProber, file: str, text: str | bytes, reason: str
) -> None:
    path = folder / "etc" / file
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert reason in why(prober, path.stem)


def test_reasons_of_unhealthy_plugins(folder: Path, serve: Serve, prober: DockerProber) -> None:
    plugin = serve("run/a.sock")
    plugin.status = 503
    plugin.body = b"the disk\nis on fire"
    assert why(prober, "a") == "Plugin.Activate was answered with 503 the disk is on fire"
    plugin.status = 200
    for body in (b"", b"{}", b'{"Implements": [5]}', b'{"Implements": null}', b"[" * 100_000):
        plugin.body = body
        assert "was not answered with a manifest" in why(prober, "a")
    plugin.go.clear()
    place = f"unix://{folder}/run/a.sock"
    assert why(prober, "a") == f"no answer to Plugin.Activate at {place} within 500ms"


def test_a_dead_plugin_leaves_its_socket(folder: Path, prober: DockerProber) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "run/a.sock"))
    assert "connection refused (is the plugin running?)" in why(prober, "a")


def test_a_socket_without_http(folder: Path, prober: DockerProber) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        (folder / "etc/a.spec").write_text(f"tcp://127.0.0.1:{port}")

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4_096)
                connection.sendall(b"220 smtp\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        reason = why(prober, "a")
        thread.join()
    assert reason == f"tcp://127.0.0.1:{port} does not speak HTTP: BadStatusLine"


def test_a_row_says_what_any_instance_implements() -> None:
    given = [["VolumeDriver"], [], ["authz", "VolumeDriver"]]
    fingerprints = [Fingerprint(True, "", 1, details={"Implements": each}) for each in given]
    assert DockerType().summary({"node": fingerprints}) == {"Implements": ["VolumeDriver", "authz"]}
    assert DockerType().summary({"node": []}) == {"Implements": []}
