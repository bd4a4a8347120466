"""Addresses to listen on: both families, and how they are shown."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugind.client import Client
from plugind.errors import InUse, ListenError
from plugind.serve.listening import listen
from tests.ports import reserved_port
from tests.processes import Machine, machine
from tests.promises import PATIENCE
from tests.support import eventually


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def test_two_colons_serve_both_families(here: Machine) -> None:
    file = here.folder / "any6.hcl"
    log = here.folder / "access.log"
    file.write_text(
        'data_dir  = "data"\nbind_addr = "::"\nports { http = 0 }\n'
        f'server {{\n  enabled = true\n  access_log = "{log}"\n}}\n'
        "client { enabled = true }\nplugin_types { enabled = [] }\n"
    )
    process = here.start("agent", "--config", file)
    port = eventually(lambda: re.search(r"address=http://\[::\]:(\d+)", process.logged))[1]
    eventually(lambda: "event=connected" in process.logged)
    for host in ("127.0.0.1", "[::1]"):
        with Client(f"http://{host}:{port}") as client:
            assert client.health().value["server"]["ok"]

    def remotes() -> set[str]:
        lines = map(json.loads, log.read_text().splitlines())
        return {line["remote"] for line in lines if line["path"] == "/v1/agent/health"}

    eventually(lambda: remotes() == {"127.0.0.1", "::1"})
    assert process.stop() == 0


@pytest.mark.parametrize(("host", "both"), [("::", True), ("::1", False), ("127.0.0.1", False)])
def test_only_two_colons_stand_for_both(host: str, both: bool) -> None:
    with reserved_port() as port, listen(host, port):
        found = []
        for each in ("127.0.0.1", "::1"):
            try:
                socket.create_connection((each, port), timeout=PATIENCE).close()
            except ConnectionRefusedError:
                continue
            found.append(each)
    assert found == (["127.0.0.1", "::1"] if both else [host])


def test_an_unusable_address_to_listen_on_is_an_error() -> None:
    with listen("::", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(InUse, match=rf"cannot listen on 0\.0\.0\.0 port {port}: Address alr"):
            listen("0.0.0.0", port)
    with pytest.raises(ListenError, match=r"192\.0\.2\.1 port 0: this machine has no such address"):
        listen("192.0.2.1", 0)
    with pytest.raises(ListenError, match="2001:db8::1 port 0: this machine has no such address"):
        listen("2001:db8::1", 0)
    with pytest.raises(ListenError, match="cannot listen on no host port 0: "):
        listen("no host", 0)
