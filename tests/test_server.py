"""A server at the limits of its process: of open files, of threads."""

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
from plugind.server import HEAD_MAXIMUM
from tests.processes import PLUGIND
from tests.support import Live, eventually, serving


@contextmanager
def limited(
    folder: Path, limit: int, values: tuple[int, int], *options: str
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A server that starts with a limit of its process, and its log."""
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
        process.wait(10)


def cpu(pid: int) -> float:
    """The seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(("values", "is_served"), [((128, 4096), True), ((300, 300), False)])
def test_more_connections_than_files_may_be_open(
    tmp_path: Path, values: tuple[int, int], is_served: bool
) -> None:
    """The soft limit is only where a process starts; at the hard one connections wait."""
    with limited(tmp_path, resource.RLIMIT_NOFILE, values) as (process, log), ExitStack() as idle:
        address = eventually(lambda: re.search(r"address=(http://\S+)", log.read_text()))[1]
        parts = urlsplit(address)
        for _ in range(320):
            idle.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=10))
        files = Path(f"/proc/{process.pid}/fd")
        eventually(lambda: len(list(files.iterdir())) > (320 if is_served else 236))
        used = cpu(process.pid)
        if is_served:
            assert Client(address).health().value["server"]["ok"]
        else:
            assert "connections=236" in log.read_text()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        assert cpu(process.pid) - used < 0.5, "it spins"
        assert "Traceback" not in log.read_text()


def test_more_threads_than_may_be(tmp_path: Path) -> None:
    values = (3 * 2**30, 3 * 2**30)
    options = ("--server-max-parked", "4000")
    with limited(tmp_path, resource.RLIMIT_AS, values, *options) as (process, log):
        assert process.wait(20) == 1
        told = log.read_text()
    assert told.startswith("Error: cannot start 4024 threads")
    assert told.endswith("lower server.max_parked\n")
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\nX: ".ljust(HEAD_MAXIMUM, b"y"), b"431 Request Header"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 17000000\r\n\r\n", b"413 Request Entity Too"),
    ],
)
def test_what_the_server_itself_refuses_is_told_in_one_line(
    tmp_path: Path, request_: bytes, told: bytes
) -> None:
    with serving(tmp_path, live=True) as api:
        assert isinstance(api, Live)
        parts = urlsplit(api.address)
        with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
            connection.sendall(request_)
            head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(
                b"\r\n\r\n"
            )
    assert head.partition(b" ")[2].startswith(told)
    assert b"Content-Type: text/plain; charset=utf-8" in head
    assert body.startswith(told[4:])
    assert len(body.splitlines()) == 1
