"""Faults of the disk and files of a server, before its start and while it runs: full, read-only,
damaged, gone. Acknowledged reports stay, reads go on, health has the reason, and later writes
succeed again."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from plugind.client import Client
from plugind.errors import Refused, StoreError
from plugind.model import Change
from plugind.store.sqlite import SqliteStore
from plugind.store.sqlite.maintenance import backup
from plugind.store.sqlite.restoring import restore
from tests.processes import Machine, Process, machine
from tests.promises import PATIENCE
from tests.support import eventually

NODE = "11111111-2222-4333-8444-555555555555"
UNLIMITED = resource.RLIM_INFINITY


@dataclass
class Rig:
    """A server, and an agent that reports a different version of its plugin each time."""

    here: Machine
    settings: Mapping[str, str] = field(default_factory=dict)
    wrapper: tuple[str, ...] = ()
    number: int = 0
    acknowledged: int = 0
    index: int = 0
    refused: list[str] = field(default_factory=list)
    process: Process = field(init=False)
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        # The node must not go down between two reports, however slow the machine is.
        settings = {"server_heartbeat_ttl": "1h", **self.settings}
        self.process, self.client = self.here.server(wrapper=self.wrapper, **settings)

    @property
    def data(self) -> Path:
        return self.here.folder / "server"

    @property
    def file(self) -> Path:
        return self.data / "plugind.db"

    @property
    def log(self) -> Path:
        return self.data / "plugind.db-wal"

    def report(self) -> bool:
        self.number += 1
        plugins = {"csi": {"ebs0": {"node": {"Healthy": True, "Provider": f"v{self.number}"}}}}
        try:
            answer = self.client.report(NODE, "s", {"Name": "vm", "Plugins": plugins})
        except Refused as error:
            self.refused.append(f"{error.status} {error}")
            return False
        assert answer["Index"] == self.index + 1 or not self.index, "nothing else has happened"
        self.acknowledged, self.index = self.number, answer["Index"]
        return True

    def shown(self) -> int:
        """Return the number of the report that readers see."""
        provider: str = self.client.plugin("csi", "ebs0").value["Provider"]
        return int(provider[1:])

    def health(self) -> tuple[int, str]:
        answer = requests.get(f"{self.client.address}/v1/agent/health", timeout=PATIENCE)
        return answer.status_code, answer.json()["server"]["message"]

    def may_write(self, size: int) -> None:
        """Limit the size of every file that the server writes, also its log on standard error."""
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, UNLIMITED))

    def check_degraded(self) -> None:
        """Fail unless a report is refused with a one-line reason and everything else goes on."""
        assert not self.report()
        status, reason = self.health()
        assert status == 500
        assert self.refused[-1] == f"503 {reason}"
        assert str(self.file) in reason
        assert "\n" not in reason
        assert self.shown() == self.acknowledged
        assert self.client.plugins("csi").index == self.index

    def check_well(self) -> None:
        eventually(lambda: self.health() == (200, "ok"))
        assert self.report()
        assert self.shown() == self.acknowledged

    def check_kept(self) -> None:
        """Restart, and fail unless the reports stored are exactly those that were acknowledged."""
        self.start()
        assert self.shown() == self.acknowledged
        assert self.client.plugins("csi").index == self.index


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def test_a_full_disk_is_over_when_there_is_room_again(here: Machine) -> None:
    rig = Rig(here)
    assert rig.report()
    rig.may_write(0)
    rig.check_degraded()
    rig.check_degraded()
    rig.may_write(UNLIMITED)
    eventually(lambda: rig.health() == (200, "ok"))
    assert rig.shown() == rig.acknowledged, "it recovered without a report"
    rig.check_well()

    rig.may_write(rig.log.stat().st_size)  # this time with room for log messages
    rig.check_degraded()
    rig.check_degraded()
    # The limit applies to each file, so a small write may succeed between failing ones.
    failures = rig.process.logged.count("the store cannot be written")
    assert 1 <= failures <= 1 + rig.process.logged.count("the store can be written again")
    rig.may_write(UNLIMITED)
    rig.check_well()
    rig.process.kill()
    rig.check_kept()


def test_a_node_whose_reports_cannot_be_written_is_not_down(here: Machine) -> None:
    rig = Rig(here, {"server_heartbeat_ttl": "3s"})
    assert rig.report()
    rig.may_write(0)
    until = time.monotonic() + 4.5  # by then its time to live and the grace period are over
    while time.monotonic() < until:
        assert not rig.report()
        time.sleep(0.1)
    rig.may_write(UNLIMITED)
    rig.check_well()  # the index shows that no node was marked as down
    (node,) = rig.client.nodes().value
    assert node["Status"] == "ready"


def test_read_only_files_under_a_running_server_and_at_its_start(here: Machine) -> None:
    setpriv = shutil.which("setpriv")
    drop = (setpriv, "--bounding-set=-all", "--inh-caps=-all") if setpriv else ()
    assert drop or os.geteuid(), "root may write everywhere: install setpriv (util-linux)"
    rig = Rig(here, wrapper=drop if os.geteuid() == 0 else ())
    assert rig.report()
    for path in (rig.file, rig.log):
        path.chmod(0o400)
    rig.data.chmod(0o500)
    rig.check_well()  # the server has them open
    rig.process.stop()
    refuses_to_start(here, rig.file, rig.wrapper)
    rig.data.chmod(0o700)
    for path in rig.data.glob("plugind.db*"):
        path.chmod(0o600)
    rig.check_kept()


def test_files_that_other_programs_move_fold_and_cut(here: Machine) -> None:
    rig = Rig(here)
    assert rig.report()
    with closing(sqlite3.connect(rig.file)) as db:
        assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    rig.check_well()  # nothing was lost
    rig.file.rename(rig.data / "away")
    rig.check_degraded()
    shutil.copy(rig.data / "away", rig.file)
    rig.check_degraded()  # a copy is another file, which the server does not write to
    (rig.data / "away").rename(rig.file)
    rig.check_well()
    rig.process.kill()
    rig.check_kept()
    assert rig.report()
    with rig.log.open("r+b") as stream:
        stream.truncate(0)
    rig.check_degraded()
    rig.check_degraded()


def test_a_log_that_is_removed_is_saved_by_a_stop_in_good_order(here: Machine) -> None:
    rig = Rig(here)
    assert rig.report()
    rig.log.unlink()
    rig.check_degraded()
    assert rig.process.stop() == 0
    rig.check_kept()


def test_a_file_damaged_under_a_running_server_and_restored(here: Machine) -> None:
    rig = Rig(here)
    assert rig.report()
    backup(rig.file, here.folder / "copy.db")
    kept = rig.acknowledged
    assert rig.report()
    with closing(sqlite3.connect(rig.file)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage_pages(rig.file)
    rig.check_degraded()
    rig.check_degraded()
    rig.process.stop()
    refuses_to_start(here, rig.file)
    restore(here.folder / "copy.db", rig.data, ())
    rig.start()
    assert rig.shown() == kept
    rig.index = 0
    assert rig.report()


def damage_pages(file: Path) -> None:
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xff" * (size - 4096))


def refuses_to_start(here: Machine, file: Path, wrapper: tuple[str, ...] = ()) -> None:
    process = here.start(
        *("agent", "--server-enabled", "true", "--ports-http", "0", "--data-dir", file.parent),
        wrapper=wrapper,
    )
    assert process.popen.wait(PATIENCE) == 1
    *mistakes, last = process.logged.splitlines()
    assert last.startswith("Error: ")
    assert str(file if not mistakes else file.parent) in process.logged
    assert len(mistakes) <= 1, "one mistake of configuration at most, in one line"


def garbled(file: Path) -> str:
    file.write_bytes(b"not a database" * 1000)
    return "file is not a database"


def malformed(file: Path) -> str:
    damage_pages(file)
    return "malformed"


def emptied(file: Path) -> str:
    file.write_bytes(b"")
    file.with_name("plugind.db-wal").write_bytes(b"what was acknowledged last")
    return "gone or empty"


@pytest.mark.parametrize("fault", [garbled, malformed, emptied])
def test_a_damaged_file_is_reported_in_one_line_and_left_as_it_is(
    tmp_path: Path, fault: Callable[[Path], str]
) -> None:
    SqliteStore(None, tmp_path).close()
    file = tmp_path / "plugind.db"
    message = fault(file)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with (
        pytest.raises(StoreError, match=message) as caught,
        closing(SqliteStore(None, tmp_path)) as s,
    ):
        s.load()
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_database_is_its_owners_alone(tmp_path: Path) -> None:
    """Allow only its owner to read the database, which has hashes of the nodes' secrets."""
    store = SqliteStore(None, tmp_path)
    try:
        store.commit([Change(1)])
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.glob("plugind.db*")}
    finally:
        store.close()
    assert set(modes) >= {"plugind.db", "plugind.db-wal", "plugind.db-shm"}
    assert set(modes.values()) == {0o600}
