"""Ten thousand agents on one server with default settings: none is ever shown as down."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import psutil
import pytest

from plugind.client import Client
from plugind.feed.deadlines import scaled_ttl
from plugind.serve.front import KINDS, WAITRESS
from tests.attacks import agents
from tests.attacks.measuring import Times, allow_files, plain_reads
from tests.ports import reserved_port
from tests.processes import Machine, Process, machine
from tests.promises import PATIENCE
from tests.support import eventually, needs

FILES = 12_000
NGINX = "/usr/sbin/nginx"
REPORTS = 100


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    allow_files(FILES)
    with machine(tmp_path) as made:
        yield made


@dataclass(frozen=True)
class Run:
    """A server with its port, and the address at which agents reach it."""

    server: Process
    port: int
    address: str


@contextmanager
def nginx(folder: Path, port: int, own: int) -> Iterator[str]:
    """Run nginx on its own port in front of the server on ``port``; yield nginx's address."""
    needs(NGINX, "nginx")
    config = folder / "nginx.conf"
    config.write_text(f"""
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
worker_rlimit_nofile {FILES};
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream plugind {{ server 127.0.0.1:{port}; keepalive 32; }}
  server {{
    listen 127.0.0.1:{own} backlog=4096;
    location / {{
      proxy_pass http://plugind;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
""")
    process = subprocess.Popen([NGINX, "-c", config, "-p", folder], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: (folder / "nginx.pid").exists())
        yield f"127.0.0.1:{own}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


@contextmanager
def running(here: Machine, way: str, http: str = WAITRESS) -> Iterator[Run]:
    """Start a server with default settings, to be reached directly or through nginx."""
    settings = {"server_trusted_proxies": "127.0.0.1"} if way == "nginx" else {}
    server, client = here.server(server_http=http, **settings)
    port = int(client.address.rpartition(":")[2])
    client.close()
    if way == "nginx":
        with reserved_port() as own, nginx(here.folder, port, own) as address:
            yield Run(server, port, address)
    else:
        yield Run(server, port, f"127.0.0.1:{port}")


def fleet(run: Run, way: str, count: int, ramp: float, seconds: float) -> str:
    """Run that many agents for that long; return a line with the measurements."""
    process = psutil.Process([*run.server.children, run.server.pid][0])  # its only worker
    idle = plain_reads(run.port)
    before = process.cpu_times()
    spread = "spread" if way == "spread" else "one"
    words = [run.address, str(count), str(ramp), str(seconds), spread]
    simulated = subprocess.Popen(
        [sys.executable, "-m", "tests.attacks.agents", *words], stdout=subprocess.PIPE
    )
    try:
        during: Times = plain_reads(run.port, seconds * 0.9, lambda: simulated.poll() is None)
        output, _ = simulated.communicate(timeout=seconds + 60)
    finally:
        simulated.kill()
        simulated.communicate()
    after = process.cpu_times()
    cpu = (after.user + after.system - before.user - before.system) / seconds
    memory = process.memory_info().rss / 2**20
    found = json.loads(output)
    line = (
        f"{way}, {count} agents, {seconds:.0f} s: {found}; CPU {cpu:.0%}, RSS {memory:.0f} MiB; "
        f"reads idle {idle}; during {during}"
    )
    print(line)
    assert found["statuses"].keys() == {"200"}, line
    assert found["statuses"]["200"] >= count, line
    assert "nothing heard of a node" not in run.server.logged, line
    assert not during.failures, line
    assert memory < 600, line
    return line


def report_seconds(run: Run) -> float:
    """Return the seconds that a report takes when there are no other clients.

    Agents start at a third of the rate that this allows, because those that have started send
    heartbeats as well and a slow machine must not be overloaded.
    """
    node_id = str(uuid.UUID(int=1_000_000))
    with closing(Client(f"http://127.0.0.1:{run.port}")) as client:
        began = time.monotonic()
        for number in range(REPORTS):
            client.report(node_id, "secret", agents.report(number))
        took = time.monotonic() - began
        client.forget_node(node_id, "secret")
    return took / REPORTS


WAYS = ("one", "nginx", "spread")


@pytest.mark.alone
def test_two_thousand_agents(here: Machine) -> None:
    with running(here, "one") as run:
        ramp = max(8.0, 2 * 2000 * report_seconds(run))
        fleet(run, "one", 2000, ramp=ramp, seconds=ramp + 12.0)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("way", "http"), [case for case in product(WAYS, KINDS) if case != ("one", WAITRESS)]
)
def test_two_thousand_agents_otherwise(here: Machine, way: str, http: str) -> None:
    with running(here, way, http) as run:
        ramp = max(8.0, 2 * 2000 * report_seconds(run))
        fleet(run, way, 2000, ramp=ramp, seconds=ramp + 12.0)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", WAYS)
def test_ten_thousand_agents_for_five_minutes(here: Machine, way: str) -> None:
    with running(here, way) as run:
        ramp = max(60.0, 3 * 10_000 * report_seconds(run))
        line = fleet(run, way, 10_000, ramp=ramp, seconds=ramp + 300.0)
        assert f"'longest_ttl': {scaled_ttl(30.0, 10_000, 250.0):.1f}" in line
