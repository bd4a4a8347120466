"""A hanging disk: each fsync and fdatasync of a real server seems to take a minute.

strace delays the calls. It is attached to the server to make the disk hang, and ended to let it go
on: then the kernel resumes the delayed calls.
"""

from __future__ import annotations

import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import requests

from plugind.cli.signals import GRACE
from plugind.client import Client
from plugind.errors import ClientError
from tests.processes import Machine, Process, alive, machine
from tests.promises import promised
from tests.support import eventually

NODE = "11111111-2222-4333-8444-555555555555"
SECRET = "the secret of the only node"
READS = 100

SYNCS = "fsync,fdatasync"
SLOW_TO_NOTICE = 6.0
"""Seconds within which health says that nothing is being written."""

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


@contextmanager
def delayed_syncs(process: Process, seconds: float) -> Iterator[None]:
    """Delay each sync of a process by that time until the block ends."""
    strace = shutil.which("strace")
    assert strace, "install strace (apt-get install strace)"
    inject = f"inject={SYNCS}:delay_enter={int(seconds * 1_000_000)}"
    command = [strace, "-f", "-q", "-o", "/dev/null", "-e", f"trace={SYNCS}", "-e", inject]
    tracer = subprocess.Popen([*command, "-p", str(process.pid)], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: all(_tracer(task) == tracer.pid for task in _tasks(process)), within=30)
        yield
    finally:
        tracer.kill()
        tracer.wait()


def _tasks(process: Process) -> list[Path]:
    return list(Path(f"/proc/{process.pid}/task").iterdir())


def _tracer(task: Path) -> int:
    """Return the process that traces a thread (proc(5), status: TracerPid); 0 if there is none, or
    if the thread has ended."""
    status = ""
    with suppress(OSError):
        status = (task / "status").read_text()
    found = re.search(r"^TracerPid:\s*(\d+)$", status, re.MULTILINE)
    return int(found[1]) if found else 0


def report(client: Client, number: int) -> int:
    """Report a provider with that number; return the index."""
    plugins = {"csi": {"ebs0": {"node": {"Healthy": True, "Provider": f"v{number}"}}}}
    return int(client.report(NODE, SECRET, {"Name": "vm", "Plugins": plugins})["Index"])


def latency(address: str) -> float:
    """Return the median duration of a read of the list in seconds."""
    took = []
    with requests.Session() as session:
        for _ in range(READS):
            began = time.monotonic()
            answer = session.get(f"{address}/v1/plugins?type=csi", timeout=30)
            took.append(time.monotonic() - began)
            assert answer.status_code == 200
    return statistics.median(took)


def health(address: str) -> str:
    answer = requests.get(f"{address}/v1/agent/health?type=server", timeout=30)
    return str(answer.json()["server"]["message"])


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """Yield a pool for calls that would block the test."""
    with ThreadPoolExecutor() as pool:
        yield pool


def stored(here: Machine) -> str:
    """Return the last provider in the database, after a check of the whole file."""
    with closing(sqlite3.connect(here.folder / "server" / "plugind.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        dump = "\n".join(db.iterdump())
    return max(re.findall(r"v\d\b", dump))


def test_reads_go_on_health_says_so_and_all_recovers(
    here: Machine, aside: ThreadPoolExecutor
) -> None:
    process, client = here.server(server_write_timeout="3s")
    report(client, 1)
    with delayed_syncs(process, 0.0):
        idle = latency(client.address)
    with delayed_syncs(process, 60.0):
        answer = aside.submit(report, Client(client.address), 2)
        with promised(SLOW_TO_NOTICE):
            with pytest.raises(ClientError, match="the write may be repeated"):
                answer.result(30)
            eventually(lambda: "does the disk hang?" in health(client.address))
        assert latency(client.address) < 2 * idle
        assert client.plugins("csi").value[0]["Provider"] == "v1"
    eventually(lambda: client.plugins("csi").value[0]["Provider"] == "v2")
    eventually(lambda: health(client.address) == "ok")
    report(client, 3)
    assert client.plugins("csi").value[0]["Provider"] == "v3"
    assert process.stop() == 0
    assert stored(here) == "v3"


def test_sigterm_ends_the_server_within_its_grace(here: Machine, aside: ThreadPoolExecutor) -> None:
    process, client = here.server()
    report(client, 1)
    with delayed_syncs(process, 60.0):
        answer = aside.submit(report, Client(client.address), 2)
        eventually(lambda: "to be written" in health(client.address))
        with promised(GRACE + 2):
            process.send(signal.SIGTERM)
            eventually(lambda: not alive(process.pid), within=4 * GRACE)
    assert process.popen.wait(20) == 1, "its tracer has let go of it"
    assert isinstance(answer.exception(), ClientError), "it was not acknowledged"
    assert "could not end in good order in time and exits now" in process.logged
    _, client = here.server()
    assert client.plugins("csi").value[0]["Provider"] in ("v1", "v2")
    report(client, 3)
