"""The server killed at any sync: acknowledged reports are kept, and removed ones stay away.

strace kills the process as it enters the Nth fsync or fdatasync of a thread; a client records every
report that was acknowledged before.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from plugind.client import Client
from plugind.errors import ClientError
from tests.processes import PLUGIND
from tests.promises import PATIENCE
from tests.support import eventually

NODE = "11111111-2222-4333-8444-555555555555"
SECRET = "s"


@dataclass
class Life:
    """One run of a server under strace, and the reports that it acknowledged."""

    data_dir: Path
    inject: str = ""
    acknowledged: list[tuple[int, int]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def run(self, first: int, reports: int) -> None:
        """Send reports numbered from ``first`` until the server is dead or all are sent."""
        log = self.data_dir.with_suffix(".log")
        with log.open("wb") as stream:
            process = subprocess.Popen(self._command(), stdout=stream, stderr=stream)
        eventually(lambda: "pid=" in log.read_text() or process.poll() is not None)
        found = re.search(r"address=(http://\S+) pid=(\d+)", log.read_text())
        try:
            if found:
                self._send(Client(found[1], timeout=PATIENCE), first, reports)
        finally:
            # The server itself is ended: strace does not pass signals on, and ends with it.
            if found and process.poll() is None:
                with suppress(ProcessLookupError):
                    os.kill(int(found[2]), signal.SIGTERM)
            process.wait(PATIENCE)

    def _send(self, client: Client, first: int, reports: int) -> None:
        for number in range(first, first + reports):
            plugins = {"csi": {"ebs0": {"node": {"Healthy": True, "Provider": f"v{number}"}}}}
            try:
                answer = client.report(NODE, SECRET, {"Name": "vm", "Plugins": plugins})
            except ClientError as error:
                self.refused.append(str(error))
            else:
                self.acknowledged.append((number, answer["Index"]))

    def _command(self) -> list[str]:
        strace = shutil.which("strace")
        assert strace, "install strace (apt-get install strace)"
        traced = [strace, "-f", "-qq", "-o", "/dev/null", *self._injection()] if self.inject else []
        server = [str(PLUGIND), "agent", "--server-enabled", "true", "--ports-http", "0"]
        return [*traced, *server, "--data-dir", str(self.data_dir)]

    def _injection(self) -> list[str]:
        calls = self.inject.partition(":")[0]
        return ["-e", f"trace={calls}", "-e", f"inject={self.inject}"]


def last_report(data_dir: Path) -> tuple[int, int]:
    """Check the whole file; return the last report that the database has, and its index."""
    with closing(sqlite3.connect(data_dir / "plugind.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (index,) = db.execute("SELECT last_index FROM store").fetchone()
        rows = db.execute("SELECT json_extract(details, '$.Provider') FROM instances").fetchall()
    return (int(rows[0][0][1:]) if rows else 0), index


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def check(life: Life, before: tuple[int, int]) -> tuple[int, int]:
    """Fail if an acknowledged report is lost; a later report may be stored though it was not
    answered."""
    number, index = last_report(life.data_dir)
    last = life.acknowledged[-1] if life.acknowledged else before
    assert number >= last[0]
    assert index >= last[1]
    return number, index


def sweep(data_dir: Path, numbers: range) -> int:
    """Kill a server at each of the syncs; return the number of servers that died."""
    died = 0
    first = Life(data_dir)
    first.run(1, 1)
    before = check(first, (0, 1))
    for when in numbers:
        life = Life(data_dir, f"fsync,fdatasync:signal=KILL:when={when}")
        life.run(before[0] + 1, 6)
        died += len(life.acknowledged) < 6
        before = check(life, before)
    return died


def test_a_kill_at_a_sync_loses_nothing_that_was_acknowledged(data_dir: Path) -> None:
    assert sweep(data_dir, range(1, 5)) >= 2, "a sweep that kills nobody shows nothing"


@pytest.mark.soak
def test_a_kill_at_any_sync_loses_nothing_that_was_acknowledged(data_dir: Path) -> None:
    assert sweep(data_dir, range(1, 40)) >= 5


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("call", ["pwrite64:when=20+7", "fdatasync:when=2+4"])
def test_a_disk_that_fails_is_reported_and_loses_nothing(
    data_dir: Path, call: str, error: str
) -> None:
    first = Life(data_dir)
    first.run(1, 1)
    before = check(first, (0, 1))
    name, _, when = call.partition(":")  # counted per thread, starting at one of intake's writes
    life = Life(data_dir, f"{name}:error={error}:{when}")
    life.run(before[0] + 1, 12)
    assert life.refused, "a fault that nobody meets shows nothing"
    assert life.acknowledged, "it goes on once the disk does"
    assert all("plugind.db" in text for text in life.refused), life.refused
    check(life, before)
