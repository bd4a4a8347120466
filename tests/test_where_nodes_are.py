"""The addresses that clients get: a node's from its agent, a server's from its listener."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from plugind.cli.roles import Roles
from plugind.testing import live_server, run_agent
from plugind.testing.serving import load
from plugind.wire import addresses
from tests.ports import reserved_port
from tests.promises import PATIENCE
from tests.support import eventually

ABOUT = """
client {
  node_class = "storage"
  meta {
    rack = "r7"
  }
}
"""


@contextmanager
def node(config: str = "", **settings: str) -> Iterator[Any]:
    """Yield a node as a server shows it, reported by an agent with this configuration."""
    with live_server() as server, run_agent(server.address, config, types="exec", **settings):
        (stub,) = eventually(lambda: server.client.nodes().value)
        yield {**server.client.node(stub["ID"]).value, "stub": stub}


def test_a_node_has_the_address_that_it_reaches_the_server_from() -> None:
    with node(ABOUT) as found:
        assert (found["Address"], found["HTTPAddr"]) == ("127.0.0.1", "127.0.0.1:4646")
        assert found["stub"]["Address"] == "127.0.0.1"
        assert (found["NodeClass"], found["Meta"]) == ("storage", {"rack": "r7"})
        assert found["stub"]["NodeClass"] == "storage"


@pytest.mark.parametrize(
    ("advertise", "host", "http"),
    [
        ("10.0.0.7", "10.0.0.7", "10.0.0.7:4646"),
        ("vm7.internal:5646", "vm7.internal", "vm7.internal:5646"),
        ("2001:db8::7", "2001:db8::7", "[2001:db8::7]:4646"),
    ],
)
def test_a_node_has_the_address_that_it_advertises(advertise: str, host: str, http: str) -> None:
    with node(client_advertise=advertise) as found:
        assert (found["Address"], found["HTTPAddr"]) == (host, http)


@contextmanager
def roles(folder: Path, config: str = "", **settings: str) -> Iterator[int]:
    """Run a process's roles in this process; yield the port that its server listens on."""
    with reserved_port() as port:
        given = {"server_enabled": "true", "ports_http": str(port), **settings}
        loaded, registry = load(folder, config, given)
        running = Roles(loaded, registry)
        running.start()
        try:
            yield port
        finally:
            running.stop()


def given_addresses(port: int) -> set[str]:
    """Return every address of the server that appears in its answers."""

    def ask(path: str) -> Any:
        return requests.get(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE).json()

    (member,) = ask("/v1/agent/members")["Members"]
    own = ask("/v1/agent/self")
    assert own["config"]["Ports"] == {"HTTP": port}
    return {
        ask("/v1/status/leader"),
        *ask("/v1/status/peers"),
        *ask("/v1/agent/servers"),
        own["config"]["AdvertiseAddrs"]["HTTP"],
        own["stats"]["nomad"]["leader_addr"],
        addresses.join(member["Addr"], member["Port"]),
        addresses.join(member["Tags"]["rpc_addr"], int(member["Tags"]["port"])),
    }


def test_a_server_on_all_interfaces_names_an_address_of_its_host(tmp_path: Path) -> None:
    with roles(tmp_path, bind_addr="0.0.0.0") as port:
        (address,) = given_addresses(port)
    host, given = addresses.split(address)
    assert given == port
    assert not addresses.is_unspecified(host)


@pytest.mark.parametrize("advertise", ["10.0.0.5", "10.0.0.5:80", "plugind.internal"])
def test_a_server_names_the_address_that_it_advertises(tmp_path: Path, advertise: str) -> None:
    config = f'advertise {{\n  http = "{advertise}"\n}}\n'
    with roles(tmp_path, config) as port:
        assert given_addresses(port) == {addresses.with_port(advertise, port)}


def test_an_agent_beside_a_server_has_the_port_of_its_process(tmp_path: Path) -> None:
    with roles(tmp_path, client_enabled="true", plugin_types_enabled="exec") as port:
        url = f"http://127.0.0.1:{port}/v1"
        (stub,) = eventually(lambda: requests.get(f"{url}/nodes", timeout=PATIENCE).json())
        read = requests.get(f"{url}/node/{stub['ID']}", timeout=PATIENCE).json()
        assert read["HTTPAddr"] == f"127.0.0.1:{port}"
