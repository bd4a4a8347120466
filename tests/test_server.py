"""A server at the limits of its process: open files and threads."""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from plugind.client import Client
from plugind.serve.limits import HEAD_MAXIMUM
from tests.processes import PLUGIND, Machine, machine
from tests.promises import PATIENCE
from tests.support import Live, eventually, serving


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


@contextmanager
def limited(
    folder: Path, limit: int, values: tuple[int, int], *options: str
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Start a server whose process has a limit; yield the server and its log."""
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                *(PLUGIND, "agent", "--server-enabled", "true", "--ports-http", "0"),
                *("--data-dir", folder / "data", *options),
            ],
            stderr=stream,
            preexec_fn=lambda: resource.setrlimit(limit, values),
        )
    try:
        yield process, log
    finally:
        process.kill()
        process.wait(PATIENCE)


def cpu(pid: int) -> float:
    """Return the seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("values", [(128, 4096), (300, 300)])
def test_more_connections_than_files_may_be_open(tmp_path: Path, values: tuple[int, int]) -> None:
    """Raise the soft limit to the hard one; above that, close idle connections."""
    with limited(tmp_path, resource.RLIMIT_NOFILE, values) as (process, log), ExitStack() as idle:
        address = eventually(lambda: re.search(r"address=(http://\S+)", log.read_text()))[1]
        parts = urlsplit(address)
        for _ in range(320):
            idle.enter_context(
                socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)
            )
        files = Path(f"/proc/{process.pid}/fd")
        eventually(lambda: len(list(files.iterdir())) > (320 if values[1] > 320 else 220))
        used = cpu(process.pid)
        assert Client(address).health().value["server"]["ok"]
        assert ("connections=236" in log.read_text()) is (values[1] == 300)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        assert cpu(process.pid) - used < 0.5, "it spins"
        assert "Traceback" not in log.read_text()


def test_too_few_files_to_serve(tmp_path: Path) -> None:
    with limited(tmp_path, resource.RLIMIT_NOFILE, (64, 64)) as (process, log):
        assert process.wait(PATIENCE) == 1
        assert log.read_text().splitlines() == [
            "Error: only 64 files may be open at a time, too few to serve: raise the limit to 112 "
            "or more (ulimit -n, or LimitNOFILE of the unit)"
        ]


def test_more_threads_than_may_be(tmp_path: Path) -> None:
    values = (3 * 2**30, 3 * 2**30)
    options = ("--server-max-parked", "4000")
    with limited(tmp_path, resource.RLIMIT_AS, values, *options) as (process, log):
        assert process.wait(PATIENCE) == 1
        logged = log.read_text()
    assert logged.startswith("Error: cannot start 4594 threads")
    assert logged.endswith("lower server.max_parked or server.max_reports\n")
    assert logged.count("\n") == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\nX: ".ljust(HEAD_MAXIMUM, b"y"), b"431 Request Header"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 17000000\r\n\r\n", b"413 Request Entity Too"),
    ],
)
def test_what_the_server_itself_refuses_is_reported_in_one_line(
    tmp_path: Path, request_: bytes, status: bytes
) -> None:
    with serving(tmp_path, live=True) as api:
        assert isinstance(api, Live)
        parts = urlsplit(api.address)
        with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as connection:
            connection.sendall(request_)
            head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(
                b"\r\n\r\n"
            )
    assert head.partition(b" ")[2].startswith(status)
    assert b"Content-Type: text/plain; charset=utf-8" in head
    assert body.startswith(status[4:])
    assert len(body.splitlines()) == 1


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200
"""The beginning of a TLS ClientHello."""


def sent(address: str, *parts: bytes) -> bytes:
    """Send bytes; return what comes back until the server closes the connection in time."""
    host, _, port = address.partition("//")[2].partition(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        for part in parts:
            connection.sendall(part)
        try:
            while data := connection.recv(65536):
                answer += data
        except ConnectionResetError:
            pass
    return answer


GET = b"GET /v1/regions HTTP/1.1\r\nHost: x\r\n"


def test_a_connection_that_begins_with_tls_is_closed_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, live=True) as api:
        assert isinstance(api, Live)
        for hello in (HELLO, HELLO[:1], HELLO * 100):
            assert sent(api.address, hello) == b""
        assert api.call("GET", "/v1/regions").status == 200


def test_that_byte_elsewhere_is_no_tls(tmp_path: Path) -> None:
    """Check the first byte of a connection only, and none in a body or a later request."""
    with serving(tmp_path, live=True) as api:
        assert isinstance(api, Live)
        body = b"PUT /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
        last = GET + b"Connection: close\r\n\r\n"
        assert sent(api.address, body, b"\x16\x03", last).count(b"HTTP/1.1 ") == 2
        assert b" 400 " in sent(api.address, GET + b"\r\n", HELLO + b"\r\n\r\n")


@pytest.mark.parametrize("limit", [64, 256])
def test_an_agent_with_few_files_reports_all_its_plugins(here: Machine, limit: int) -> None:
    """Check that an agent keeps few files open and so reports all plugins under a low limit."""
    _, client = here.server()
    here.drivers("vm/a.sock", "vm/b.sock")
    agent = here.start(
        *("agent", "--client-enabled", "true", "--client-servers", client.address),
        *("--data-dir", here.folder / "agent", "--name", "vm"),
        environ={"PLUGIND_PLUGIN_TYPE_CSI_SOCKETS": str(here.folder / "sockets/vm/*.sock")},
        wrapper=("/bin/sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh"),
    )
    eventually(lambda: len(client.plugins("csi").value) == 2)
    eventually(lambda: all(r["NodesHealthy"] == 1 for r in client.plugins("csi").value))
    assert "Traceback" not in agent.logged
    assert "Too many open files" not in agent.logged
    assert agent.stop() == 0
