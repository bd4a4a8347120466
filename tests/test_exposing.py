"""docs/exposing.md: its nginx configuration is run unchanged, with plugind behind it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from plugind.api.endpoints import LARGE_BODY
from plugind.api.query import WAIT_MAXIMUM
from plugind.client import Client, Tls
from plugind.model.times import SECOND, parse_duration
from tests.nginx import HEALTH, SERVER, nginx
from tests.processes import Machine, counts, machine
from tests.promises import PATIENCE
from tests.support import eventually
from tests.test_cli import plugind


@dataclass
class Proxy:
    """nginx in front of a server: its address with the prefix, and the certificate that it
    presents."""

    address: str
    ca_file: Path
    machine: Machine
    server: Client


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    with machine(folder) as here:
        _, server = here.server(
            server_access_log=str(folder / "access.log"), server_trusted_proxies="127.0.0.1"
        )
        with nginx(folder, server.address, extra=HEALTH) as address:
            yield Proxy(address, folder / "plugind.crt", here, server)


def test_an_agent_reports_through_the_proxy(proxy: Proxy) -> None:
    here = proxy.machine
    driver = here.driver("vm/ebs0.sock")
    agent = here.agent("vm", proxy.address, client_ca_file=str(proxy.ca_file))
    eventually(lambda: counts(proxy.server, "ebs0") == (1, 1, 1, 1))
    done = plugind(
        *("plugin", "status", "--ca-file", str(proxy.ca_file)), PLUGIND_ADDR=proxy.address
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "ebs0" in done.stdout
    assert [agent.stop(), driver.stop()] == [0, 0]


def test_a_blocking_query_waits_and_wakes_behind_the_proxy(proxy: Proxy) -> None:
    with Client(proxy.address, tls=Tls(proxy.ca_file)) as client:
        index = client.nodes().index
        began = time.monotonic()
        assert client.nodes(index=index, wait=1).index == index
        assert time.monotonic() - began >= 1


def test_the_proxy_has_the_limits_of_the_server(proxy: Proxy) -> None:
    found = dict(re.findall(r"^ +(\w+) +(\S+);$", SERVER, re.MULTILINE))
    longest = WAIT_MAXIMUM * (1 + 1 / 16)
    assert parse_duration(found["proxy_read_timeout"]) / SECOND > longest
    assert found["client_max_body_size"] == f"{LARGE_BODY >> 20}m"
    url = f"{proxy.address}/v1/node/2f8d0c5e-6f7b-4e0a-9a53-1f6f4f0c8a11"
    answer = requests.put(url, data=b" " * (LARGE_BODY - 1), verify=proxy.ca_file, timeout=PATIENCE)
    assert answer.status_code == 400, "the server's own answer"
    assert "nginx" not in answer.text


def test_a_client_that_leaves_frees_its_place(proxy: Proxy) -> None:
    log = proxy.machine.folder / "access.log"
    index = proxy.server.nodes().index
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.get(
            f"{proxy.address}/v1/nodes",
            params={"index": str(index), "wait": "90s"},
            verify=proxy.ca_file,
            timeout=(5, 0.5),
        )
    # Its line is written when it ends: long before the wait is over.
    eventually(lambda: '"wait":"90s"' in log.read_text())


def test_health_is_for_those_that_are_allowed(proxy: Proxy) -> None:
    answer = requests.get(
        f"{proxy.address}/v1/agent/health", verify=proxy.ca_file, timeout=PATIENCE
    )
    assert answer.status_code == 403
    assert proxy.server.health().value["server"]["ok"]
