"""Who may open a data_dir: a single process, or the processes of one server, which must agree."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from plugind.errors import StoreError
from plugind.store.sqlite import SqliteStore, sharing
from plugind.store.sqlite.file import MIGRATIONS
from plugind.store.sqlite.place import check_place, file_system
from plugind.store.sqlite.settings import SqliteSettings
from plugind.testing.stores.making import commit, node, put
from tests.store.children import PRELUDE, child

MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
40 22 0:35 / /srv rw,relatime shared:1 - nfs4 server:/srv rw
41 40 8:2 / /srv/local rw - xfs /dev/sdb1 rw
42 22 0:36 / /mnt/with\\040space rw - cifs //server/share rw
43 22 0:37 / /home rw - fuse.sshfs me@there: rw
44 22 0:38 / /home rw - tmpfs tmpfs rw
45 22 0:39 / /9 rw - 9p share rw
46 22 0:40 / /fuse rw - fuse.mergerfs a:b rw
"""
OPENS = "say('open'); hear()"


def shared(folder: Path) -> closing[SqliteStore]:
    return closing(SqliteStore(None, folder, shared=True))


def refusal(folder: Path, *, is_shared: bool = True, settings: object = None) -> str:
    """Return the single line of the error with which a store refuses to open."""
    with pytest.raises(StoreError) as caught:
        SqliteStore(settings, folder, shared=is_shared).close()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def outsider(folder: Path) -> subprocess.CompletedProcess[str]:
    """Open the store in a process of another server, that is, one with another parent."""
    opens = f"[sys.executable, '-c', {PRELUDE!r}, *sys.argv[1:]]"
    script = f"import subprocess, sys; subprocess.run({opens})"
    command = [sys.executable, "-c", script, str(folder), "10"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_children_of_one_process_share_and_others_are_refused(tmp_path: Path) -> None:
    with child(tmp_path, OPENS) as one, child(tmp_path, OPENS) as two:
        assert one.hear() == two.hear() == "open"
        other = outsider(tmp_path)
        assert f"another plugind server is running on data_dir {tmp_path}" in other.stderr
        assert "another plugind server is running" in refusal(tmp_path, is_shared=False)
        with shared(tmp_path) as store:  # their parent
            commit(store, put(node(1)))
    assert outsider(tmp_path).stderr == ""


def test_a_job_of_the_same_shell_is_another_server(tmp_path: Path) -> None:
    with child(tmp_path, OPENS) as one:
        assert one.hear() == "open"
        command = [sys.executable, "-c", PRELUDE, str(tmp_path), "10"]
        job = subprocess.run(command, capture_output=True, text=True, timeout=60, process_group=0)
    assert f"another plugind server is running on data_dir {tmp_path}" in job.stderr


@pytest.mark.parametrize(
    ("parent", "group", "is_of_family"),
    [(0, 1, False), (1, 4321, False), (1, 1, True), (1, 0, True), (77, 77, True)],
)
def test_the_parent_of_all_services_makes_no_family(
    parent: int, group: int, is_of_family: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getppid", lambda: parent)
    monkeypatch.setattr(os, "getpgrp", lambda: group)
    own, *parents = sharing._family()
    assert own.startswith(f"{os.getpid()}/")
    assert [each.partition("/")[0] for each in parents] == [str(parent)] * is_of_family


def test_one_that_does_not_share_keeps_all_others_out(tmp_path: Path) -> None:
    with closing(SqliteStore(None, tmp_path)):
        for is_shared in (True, False):
            assert "another plugind server is running" in refusal(tmp_path, is_shared=is_shared)


def test_many_processes_open_a_new_store_at_once(tmp_path: Path) -> None:
    with ExitStack() as stack:
        children = [stack.enter_context(child(tmp_path, "say(store.identity)")) for _ in range(4)]
        assert len({each.hear() for each in children}) == 1


def test_the_first_of_many_processes_migrates_an_older_store(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "plugind.db", isolation_level=None)) as db:
        for script in MIGRATIONS[:-1]:
            db.executescript(script)
        db.execute("INSERT INTO store (identity, last_index) VALUES ('old', 7)")
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) - 1}")
    opens = "say(store.identity, store.newest(), store.load().index)"
    with ExitStack() as stack:
        children = [stack.enter_context(child(tmp_path, opens)) for _ in range(4)]
        assert {each.hear() for each in children} == {"old 7 7"}
    assert SqliteStore.check(None, tmp_path).schema == len(MIGRATIONS)


def test_another_schema_is_refused_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with child(tmp_path, OPENS) as other:
        assert other.hear() == "open"
        more = (*sharing.MIGRATIONS, "CREATE TABLE later (id TEXT)")
        monkeypatch.setattr(sharing, "MIGRATIONS", more)
        text = refusal(tmp_path)
    schema = len(more) - 1
    assert f"its schema is {schema}, that of this one {schema + 1}): stop all of them" in text


def test_other_settings_of_the_store_are_refused(tmp_path: Path) -> None:
    with child(tmp_path, OPENS) as other:
        assert other.hear() == "open"
        settings = SqliteSettings(log_keep=60.0)
        assert "with other settings in store" in refusal(tmp_path, settings=settings)
    SqliteStore(settings, tmp_path, shared=True).close()


def test_a_killed_first_process_leaves_the_others_in(tmp_path: Path) -> None:
    with child(tmp_path, OPENS) as first, child(tmp_path, OPENS) as second:
        assert first.hear() == second.hear() == "open"
        first.kill()
        with child(tmp_path, OPENS) as third:
            assert third.hear() == "open"
            assert "another plugind server" in outsider(tmp_path).stderr


def test_a_process_id_that_was_used_again_is_another_process(tmp_path: Path) -> None:
    with shared(tmp_path):
        card = json.loads((tmp_path / sharing.LOCK_NAME).read_text())
        assert card["of"][0].startswith(f"{os.getpid()}/")
        card["of"] = [f"{os.getpid()}/1", f"{os.getppid()}/1"]
        (tmp_path / sharing.LOCK_NAME).write_text(json.dumps(card))
        assert "another plugind server" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib/plugind", "ext4"),
        ("/srv", "nfs4"),
        ("/srv/plugind/data", "nfs4"),
        ("/srv/local/plugind", "xfs"),
        ("/srvlocal", "ext4"),
        ("/mnt/with space/x", "cifs"),
        ("/home/me", "tmpfs"),
    ],
)
def test_the_file_system_of_a_folder_is_found(folder: str, kind: str) -> None:
    assert file_system(Path(folder), MOUNTS) == kind


@pytest.mark.parametrize("folder", ["/srv/x", "/mnt/with space", "/9/x"])
def test_several_processes_are_refused_on_a_network_file_system(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mounts := tmp_path / "mounts").write_text(MOUNTS)
    with pytest.raises(StoreError, match=r"network file system \(.*\).*choose a folder on a local"):
        check_place(Path(folder), shared=True, mounts=mounts)
    check_place(Path(folder), shared=False, mounts=mounts)


@pytest.mark.parametrize("folder", ["/x", "/srv/local/x", "/home/x", "/fuse/x"])
def test_local_file_systems_are_not_refused(folder: str, tmp_path: Path) -> None:
    (mounts := tmp_path / "mounts").write_text(MOUNTS)
    check_place(Path(folder), shared=True, mounts=mounts)
    check_place(Path(folder), shared=True, mounts=tmp_path / "none")
