"""The example of three servers and three etcd members starts unchanged, and survives a loss."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plugind.client import Client
from plugind.errors import PlugindError
from tests.nginx import NGINX
from tests.processes import Machine, Process, machine
from tests.promises import PATIENCE
from tests.support import eventually, needs
from tests.test_docs import ROOT

CONF = ROOT / "conf/three-servers"
ADDRESSES = [f"http://127.0.46.{number}:4646" for number in (1, 2, 3)]
PROXY = "http://127.0.46.10:4646"

Program = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """Return a function that starts one of the machine's programs, which ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str | Path) -> subprocess.Popen[bytes]:
        with (tmp_path / f"{Path(command[0]).name}-{len(started)}.log").open("wb") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        return started[-1]

    yield start
    for each in started:
        each.terminate()  # so that nginx ends its workers
        each.wait(PATIENCE)


def etcd(program: Program, folder: Path, number: int) -> subprocess.Popen[bytes]:
    """Start a member as the example has it, but with another data folder."""
    text = (CONF / f"etcd-{number}.yml").read_text()
    data = "data-dir: /var/lib/etcd/plugind"
    assert data in text
    file = folder / f"etcd-{number}.yml"
    file.write_text(text.replace(data, f"data-dir: {folder}/etcd-{number}"))
    return program("etcd", "--config-file", file)


def server(here: Machine, number: int) -> Process:
    files = [CONF / "server.hcl", CONF / f"server-{number}.hcl"]
    return here.start(
        "agent",
        *(word for file in files for word in ("--config", file)),
        *("--data-dir", here.folder / f"server-{number}"),
        environ={"PLUGIND_SERVER_MAX_PARKED": "5", "PLUGIND_SERVER_MAX_REPORTS": "5"},
    )


def nginx(program: Program, folder: Path) -> subprocess.Popen[bytes]:
    needs(NGINX, "nginx-light")
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"user root;\ndaemon off;\npid {folder}/nginx.pid;\nerror_log {folder}/nginx.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{places}include {CONF}/nginx.conf;\n}}\n"
    )
    return program(NGINX, "-p", folder, "-c", config)


def node_at(address: str) -> tuple[str, str] | None:
    """Return the status of the one node and the health of its plugin; None if it is not known or no
    server answers."""
    try:
        with Client(address) as client:
            (node,) = client.nodes().value
            (plugin,) = client.plugins("csi").value
    except (PlugindError, ValueError):
        return None
    return node["Status"], f"{plugin['NodesHealthy']} of {plugin['NodesExpected']}"


def test_the_example_starts_as_it_stands(tmp_path: Path, program: Program) -> None:
    needs("/usr/bin/etcd", "etcd-server")
    shutil.copytree(CONF, tmp_path / "conf")
    with machine(tmp_path) as here:
        members = [etcd(program, tmp_path, number) for number in (1, 2, 3)]
        for log in [tmp_path / f"etcd-{number}.log" for number in range(3)]:
            eventually(lambda log=log: "ready to serve client requests" in log.read_text())
        servers = [server(here, number) for number in (1, 2, 3)]
        for each in servers:
            eventually(lambda each=each: "event=serving" in each.logged)
        proxy = nginx(program, tmp_path)
        here.driver("vm/ebs0.sock", "--no-controller")
        agent = here.start(
            *("agent", "--config", CONF / "agent.hcl", "--name", "vm"),
            *("--data-dir", tmp_path / "agent", "--plugin-types-enabled", "csi"),
            environ={"PLUGIND_PLUGIN_TYPE_CSI_SOCKETS": str(tmp_path / "sockets/vm/*.sock")},
        )
        healthy, sick = ("ready", "1 of 1"), ("ready", "0 of 1")
        for address in (*ADDRESSES, PROXY):
            eventually(lambda address=address: node_at(address) == healthy)

        # Lose the server that the agent reports to, and a member of etcd.
        servers[0].kill()
        members[2].kill()
        here.send("vm/ebs0.sock", "fail", "disk on fire")
        for address in (*ADDRESSES[1:], PROXY):
            eventually(lambda address=address: node_at(address) == sick)

        servers[0] = server(here, 1)
        here.send("vm/ebs0.sock", "ok")
        for address in (*ADDRESSES, PROXY):
            eventually(lambda address=address: node_at(address) == healthy)
        assert agent.stop() == 0
        assert [each.stop() for each in servers] == [0, 0, 0]
        assert proxy.poll() is None
