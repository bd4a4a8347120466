"""A restored backup: indexes continue, queries wake, and there is a database at every moment."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from plugind.errors import StoreError
from plugind.model import Change, plugins_of
from plugind.store.sqlite import SqliteStore
from plugind.store.sqlite.maintenance import backup, check
from plugind.store.sqlite.numbering import LEAP
from plugind.store.sqlite.restoring import restore
from tests.processes import PLUGIND
from tests.promises import COMMAND_MAXIMUM, SOON, promised
from tests.store.test_migration import RECORDED, TODAY
from tests.support import Api, FakeAgent, down, serving, up

NODES = ("11111111-2222-4333-8444-555555555551", "11111111-2222-4333-8444-555555555552")
READS = (
    "/v1/plugins?type=csi",
    *(f"/v1/plugin/csi/{name}" for name in ("same", "forgotten", "again", "new", "never")),
    "/v1/nodes?",
    *(f"/v1/node/{node_id}" for node_id in NODES),
)


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PLUGIND, "store", *words], capture_output=True, text=True, timeout=COMMAND_MAXIMUM
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@dataclass
class Past:
    """A data_dir, a copy of an earlier state of it, and the last indexes that clients saw."""

    data: Path
    copy: Path
    created: dict[str, int]
    seen: dict[str, int]
    digests: dict[str, str]

    @property
    def file(self) -> Path:
        return self.data / "plugind.db"

    @property
    def index(self) -> int:
        return check(self.file).index


@pytest.fixture
def past(tmp_path: Path) -> Past:
    (data := tmp_path / "data").mkdir()
    copy = tmp_path / "copy.db"
    with serving(data, live=False) as api:
        one, two = (FakeAgent(api, node_id) for node_id in NODES)
        one.report({name: {"node": up()} for name in ("same", "forgotten", "again")})
        created = {name: created_at(api, name) for name in ("same", "forgotten", "again")}
        backup(data / "plugind.db", copy)
        one.report({"same": {"node": down()}})
        for name in ("forgotten", "again"):
            assert api.call("DELETE", f"/v1/plugin/csi/{name}").status == 200
        one.report({"same": {"node": down()}, "again": {"node": up()}})
        two.report({"new": {"node": up()}})
        seen = {path: api.call("GET", path).index for path in READS}
    return Past(data, copy, created, seen, {each.node_id: each.digest for each in (one, two)})


def created_at(api: Api, name: str) -> int:
    index: int = api.call("GET", f"/v1/plugin/csi/{name}").json["CreateIndex"]
    return index


def test_a_query_from_an_index_of_the_replaced_database_is_woken(past: Past) -> None:
    before = past.index
    done = command("restore", past.copy, "--data-dir", past.data)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        f"Restored {past.copy}: schema {TODAY}, index {before + 1}, nodes 1"
    )
    with serving(past.data, live=False) as api:
        with promised(SOON):
            for path, index in past.seen.items():
                sign = "&" if "?" in path else "?"
                answer = api.call("GET", f"{path}{sign}index={index}&wait=5m")
                assert answer.index > index, path
        assert [row["ID"] for row in api.call("GET", READS[0]).json] == [
            *("again", "forgotten", "same"),
        ]
        # Only the plugin that was not removed in between is still the same.
        assert created_at(api, "same") == past.created["same"]
        assert created_at(api, "forgotten") == created_at(api, "again") == before + 1
        for node_id, digest in past.digests.items():
            assert FakeAgent(api, node_id).beat(digest).status == 409, "it needs a new report"
        agent = FakeAgent(api, NODES[0])
        assert agent.report({"same": {"node": down()}}).json["Index"] == before + 2


def test_the_replaced_database_is_kept_and_can_be_restored(past: Past) -> None:
    before = past.index
    identity = identity_of(past.data)
    done = command("restore", "--json", past.copy, "--data-dir", past.data)
    kept = Path(json.loads(done.stdout)["kept"])
    assert kept.parent == past.data
    assert check(kept).index == before
    made = {"config.hcl", "plugind.db", "plugind.db.lock", "beats.db", kept.name}
    assert names(past.data) == made
    assert past.file.stat().st_mode & 0o777 == 0o600
    assert identity_of(past.data) != identity
    restore(kept, past.data, ())
    assert past.index == before + 2
    with serving(past.data, live=False) as api:
        assert api.call("GET", "/v1/plugin/csi/new").status == 200


def identity_of(data: Path) -> str:
    with closing(SqliteStore(None, data)) as opened:
        return opened.identity


def test_lists_are_changed_also_where_the_copy_has_nothing_in_them(past: Past) -> None:
    with closing(sqlite3.connect(past.file)) as db, db:
        db.execute("INSERT INTO stamps VALUES ('plugins/once', 2, 3, 1, 1)")
    restore(past.copy, past.data, {plugins_of("asked")})
    with closing(SqliteStore(None, past.data)) as opened:
        contents = opened.load()
    for resource in ("nodes", "plugins/asked", "plugins/csi", "plugins/once"):
        assert contents.stamps[resource].modify_index == contents.index


def garbled(past: Past) -> None:
    past.file.write_bytes(b"x" * 5000)
    past.file.with_name("plugind.db-wal").write_bytes(b"y" * 5000)


def damaged_in_a_row(past: Past) -> None:
    with closing(sqlite3.connect(past.file)) as db, db:
        db.execute("UPDATE nodes SET meta = ''")


def newer(past: Past) -> None:
    with closing(sqlite3.connect(past.file)) as db, db:
        db.execute("PRAGMA user_version = 99")


def gone(past: Past) -> None:
    past.file.unlink()


@pytest.mark.parametrize(
    ("fault", "is_known"),
    [(garbled, False), (gone, False), (damaged_in_a_row, True), (newer, True)],
)
def test_indexes_leap_where_the_last_one_seen_is_unknown(
    past: Past, fault: Callable[[Past], None], is_known: bool
) -> None:
    last = past.index if is_known else check(past.copy).index
    fault(past)
    before = {path.name: path.read_bytes() for path in past.data.glob("plugind.db*")}
    done = restore(past.copy, past.data, ())
    assert done.summary.index == past.index == last + LEAP
    assert not past.file.with_name("plugind.db-wal").exists()
    if done.kept:
        kept = {
            path.name.replace(done.kept.name, "plugind.db"): path.read_bytes()
            for path in past.data.glob(f"{done.kept.name}*")
        }
        assert kept == {name: text for name, text in before.items() if name in kept}
        assert ("plugind.db-wal" in kept) is ("plugind.db-wal" in before)
    with serving(past.data, live=False) as api:
        assert created_at(api, "again") == past.created["again"]


def test_a_folder_that_was_never_used(past: Past, tmp_path: Path) -> None:
    done = command("restore", past.copy, "--data-dir", tmp_path / "fresh")
    assert done.returncode == 0
    assert check(tmp_path / "fresh/plugind.db").instances == 3
    assert names(tmp_path / "fresh") == {"plugind.db", "plugind.db.lock"}


def test_a_database_that_root_restores_belongs_to_the_servers_user(past: Past) -> None:
    if os.geteuid() == 0:
        os.chown(past.data, 65534, 65534)
    past.file.with_name("plugind.db.lock").unlink()
    restore(past.copy, past.data, ())
    owner = past.data.stat().st_uid
    for name in ("plugind.db", "plugind.db.lock"):
        assert (past.data / name).stat().st_uid == owner


def test_a_full_disk_changes_nothing(past: Past) -> None:
    prlimit = shutil.which("prlimit")
    assert prlimit, "install prlimit (util-linux)"
    before = (past.index, names(past.data))
    done = subprocess.run(
        [
            *(prlimit, "--fsize=8192:", PLUGIND),
            *("store", "restore", past.copy, "--data-dir", past.data),
        ],
        capture_output=True,
        text=True,
        timeout=COMMAND_MAXIMUM,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: no room for a copy beside {past.file}: ")
    assert done.stderr.count("\n") == 1
    assert (past.index, names(past.data)) == before


def test_a_running_server_is_left_alone(past: Past) -> None:
    with closing(SqliteStore(None, past.data)):
        before = names(past.data)
        done = command("restore", past.copy, "--data-dir", past.data)
        assert names(past.data) == before
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: another plugind server is running on data_dir {past.data}: stop it first\n"
    )


def test_another_program_that_reads_the_file_is_not_cut_off(past: Past) -> None:
    with closing(sqlite3.connect(past.file)) as db:
        db.execute("BEGIN")
        db.execute("SELECT * FROM nodes").fetchall()
        with closing(sqlite3.connect(past.file)) as writing, writing:
            writing.execute("UPDATE nodes SET version = 'x'")
            before = names(past.data)
            with pytest.raises(StoreError, match="in use by another program"):
                restore(past.copy, past.data, ())
            assert names(past.data) == before


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("UPDATE nodes SET meta = ''", "is damaged: nodes"),
        ("DELETE FROM nodes", "instances have no node"),
        ("PRAGMA user_version = 99", "newer plugind"),
        ("PRAGMA user_version = 0", "its schema is 0"),
    ],
)
def test_a_copy_that_is_not_sound_changes_nothing(past: Past, fault: str, message: str) -> None:
    with closing(sqlite3.connect(past.copy)) as db, db:
        db.execute(fault)
    before = (past.index, names(past.data))
    with pytest.raises(StoreError, match=message) as caught:
        restore(past.copy, past.data, ())
    assert str(past.copy) in str(caught.value)
    assert (past.index, names(past.data)) == before


@pytest.mark.parametrize("schema", sorted(RECORDED))
def test_a_copy_of_an_older_schema_is_taken_to_that_of_today(past: Past, schema: int) -> None:
    past.copy.unlink()
    with closing(sqlite3.connect(past.copy)) as db:
        db.executescript(RECORDED[schema].read_text())
    assert restore(past.copy, past.data, ()).summary.schema == TODAY
    assert check(past.copy).schema == schema


@dataclass
class Sweep:
    """Restores that are killed when they make the Nth call of some kind. All start from the same
    state: a database whose last change is only in the log, as a killed server leaves it."""

    start: Path
    copy: Path
    index: int

    def outcome(self, data: Path, calls: str, when: int) -> tuple[bool, bool]:
        """Run one restore; return whether it ended normally, and whether the copy is in force."""
        shutil.copytree(self.start, data)
        code = (
            "import sys; from pathlib import Path\n"
            "from plugind.store.sqlite.restoring import restore\n"
            "restore(Path(sys.argv[1]), Path(sys.argv[2]), ())"
        )
        strace = shutil.which("strace")
        assert strace, "install strace (apt-get install strace)"
        inject = f"inject={calls}:signal=KILL:when={when}"
        run = [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", inject]
        done = subprocess.run(
            [*run, sys.executable, "-c", code, self.copy, data], timeout=COMMAND_MAXIMUM
        )
        index = check(data / "plugind.db").index
        assert index in (self.index, self.index + 1)
        restore(self.copy, data, ())
        assert check(data / "plugind.db").index == index + 1, "and it can be done again"
        return done.returncode == 0, index > self.index


@pytest.fixture
def killing(past: Past, tmp_path: Path) -> Sweep:
    with closing(SqliteStore(None, past.data)) as opened:
        (index,) = opened.commit([Change(1, touched=frozenset({"nodes"}))])
        shutil.copytree(past.data, tmp_path / "start")
    assert (tmp_path / "start/plugind.db-wal").stat().st_size
    return Sweep(tmp_path / "start", past.copy, index)


_NAMING = "link,unlink,rename,fsync,fdatasync"


def test_a_kill_leaves_either_database_whole(killing: Sweep, tmp_path: Path) -> None:
    outcomes = sweep(killing, tmp_path, _NAMING)
    assert outcomes[0] == (False, False)
    assert outcomes[-1] == (True, True)
    in_force = [new for _, new in outcomes]
    assert in_force == sorted(in_force), "never back again"
    assert len(outcomes) >= 8


@pytest.mark.soak
def test_a_kill_at_any_write_leaves_either_database_whole(killing: Sweep, tmp_path: Path) -> None:
    assert len(sweep(killing, tmp_path, f"{_NAMING},pwrite64,ftruncate,chown,openat")) >= 30


def sweep(killing: Sweep, folder: Path, calls: str) -> list[tuple[bool, bool]]:
    outcomes = []
    while not outcomes or not outcomes[-1][0]:
        when = len(outcomes) + 1
        outcomes.append(killing.outcome(folder / f"killed-{when}", calls, when))
    return outcomes
