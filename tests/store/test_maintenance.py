"""Backups and checks by the real commands, while a server takes reports."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest

from plugind.errors import StoreError
from plugind.store.sqlite import SqliteStore
from plugind.store.sqlite.maintenance import check
from tests.processes import PLUGIND
from tests.promises import COMMAND_MAXIMUM
from tests.support import FakeAgent, down, serving, up

NODE = "11111111-2222-4333-8444-555555555555"


def store(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PLUGIND, "store", *words], capture_output=True, text=True, timeout=COMMAND_MAXIMUM
    )


def test_a_backup_while_reports_pour_in_has_what_was_acknowledged(tmp_path: Path) -> None:
    (data := tmp_path / "data").mkdir()
    (copy := tmp_path / "copy").mkdir()
    with serving(data, live=True) as api:
        agent, over = FakeAgent(api), threading.Event()
        reported = [agent.report({"ebs0": {"node": up()}}).json["Index"]]

        def pour() -> None:
            while not over.is_set():
                health = up() if len(reported) % 2 == 0 else down()
                reported.append(agent.report({"ebs0": {"node": health}}).json["Index"])

        thread = threading.Thread(target=pour)
        thread.start()
        try:
            before = reported[-1]
            done = store("backup", copy / "plugind.db", "--data-dir", data)
            after = reported[-1]
        finally:
            over.set()
            thread.join()
        assert (done.returncode, done.stderr) == (0, "")
        assert after > before
        assert store("check", "--data-dir", data).returncode == 0
    found = json.loads(store("check", "--json", "--data-dir", copy).stdout)
    assert before <= found["index"] <= reported[-1]
    assert (found["nodes"], found["instances"]) == (1, 1)
    again = store("backup", copy / "plugind.db", "--data-dir", data)
    assert again.returncode == 1
    assert again.stderr == f"Error: {copy / 'plugind.db'} is there already: choose another name\n"
    assert [path.name for path in copy.iterdir()] == ["plugind.db"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("DELETE FROM nodes", "1 instances have no node"),
        ("UPDATE store SET last_index = 1", "stamps are ahead"),
        ("DELETE FROM store", "store: one row must be there, not 0"),
        ("DELETE FROM stamps WHERE resource = 'plugin/csi/ebs0'", "1 resources have no stamp"),
        ("DELETE FROM stamps WHERE resource = 'plugins/csi'", "the first 'plugins/csi'"),
        ("INSERT INTO stamps VALUES ('plugin/csi/x', 1, 1, 1, 1)", "1 stamps are of nothing"),
        ("UPDATE nodes SET meta = '{'", f"nodes {NODE}: meta: "),
        ("UPDATE nodes SET meta = '{\"a\": 1}'", f"nodes {NODE}: meta: is no text"),
        ("UPDATE instances SET details = '[]'", f"instances {NODE}/csi/ebs0/node: details: is no"),
        ("UPDATE instances SET updated = 'x'", "updated: is no number"),
        (f"INSERT INTO beats VALUES ('{NODE}', 1, 'x')", f"beats {NODE}: ttl: is no number"),
        (
            "INSERT INTO forgotten VALUES ('x', 'csi', 'a', 'node', 1, 0)",
            "1 forgotten instances have no node",
        ),
        (
            f"INSERT INTO forgotten VALUES ('{NODE}', 'csi', 'a', 'node', 1, 'x')",
            f"forgotten {NODE}/csi/a/node: ignored: is no number",
        ),
        (
            f"INSERT INTO kept_secrets VALUES ('{NODE}', 'hash', '', 1)",
            "1 kept secrets are of nodes that exist",
        ),
        ("INSERT INTO kept_secrets VALUES ('x', 'hash', '', 'x')", "kept_secrets x: time: is no"),
        ("UPDATE nodes SET name = CAST(x'ff' AS TEXT)", "UTF-8"),
        ("PRAGMA user_version = 99", "its schema is 99"),
    ],
)
def test_damage_is_reported_in_one_line(tmp_path: Path, fault: str, message: str) -> None:
    with serving(tmp_path, live=False) as api:
        FakeAgent(api, NODE).report({"ebs0": {"node": up()}})
    with closing(sqlite3.connect(tmp_path / "plugind.db")) as db, db:
        db.execute(fault)
    with pytest.raises(StoreError) as checked:
        check(tmp_path / "plugind.db")
    assert message in str(checked.value)
    with pytest.raises(StoreError) as loaded, closing(SqliteStore(None, tmp_path)) as opened:
        opened.load()  # the database cannot be served either
    for caught in (checked, loaded):
        assert str(tmp_path / "plugind.db") in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_command_fails_where_there_is_damage(tmp_path: Path) -> None:
    (tmp_path / "plugind.db").write_text("not a database at all, but long enough to be looked at")
    done = store("check", "--data-dir", tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: the store {tmp_path}/plugind.db: file is not a database (SQLITE_NOTADB)\n"
    )


def test_an_export_is_imported_by_the_commands(tmp_path: Path) -> None:
    (data := tmp_path / "data").mkdir()
    (other := tmp_path / "other").mkdir()
    file = tmp_path / "plugind.jsonl"
    with serving(data, live=True) as api:
        FakeAgent(api).report({"ebs0": {"node": up(), "controller": down()}})
        before = api.call("GET", "/v1/plugin/csi/ebs0").json
        done = store("export", file, "--data-dir", data)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Wrote {file}: schema ")
        assert store("export", file, "--data-dir", data).returncode == 1
        refused = store("import", file, "--data-dir", data)
        assert "another plugind server is running" in refused.stderr
    assert file.stat().st_mode & 0o077 == 0
    done = store("import", "--json", file, "--data-dir", other)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["kept"] is None
    again = store("import", file, "--data-dir", other)
    assert "The previous data is kept as" in again.stdout
    with serving(other, live=False) as api:
        after = api.call("GET", "/v1/plugin/csi/ebs0").json
    moved = {"ModifyIndex", "CreateIndex", "ModifyTime", "CreateTime"}
    assert {key: before[key] for key in before.keys() - moved} == {
        key: after[key] for key in after.keys() - moved
    }
    file.write_text(file.read_text().replace("ebs0", "ebs1", 1))
    damaged = store("import", file, "--data-dir", other)
    assert damaged.returncode == 1
    assert damaged.stderr.startswith(f"Error: {file}, line ")
    assert damaged.stderr.count("\n") == 1


def test_a_backup_serves_the_same_answers(tmp_path: Path) -> None:
    paths = ["/v1/plugins?type=csi", "/v1/plugin/csi/ebs0", "/v1/nodes"]
    (data := tmp_path / "data").mkdir()
    (copy := tmp_path / "copy").mkdir()
    with serving(data, live=False) as api:
        FakeAgent(api).report({"ebs0": {"node": up(), "controller": down()}})
        assert store("backup", copy / "plugind.db", "--data-dir", data).returncode == 0
        before = [(api.call("GET", path).json, api.call("GET", path).index) for path in paths]
    with serving(copy, live=False) as api:
        assert before == [
            (api.call("GET", path).json, api.call("GET", path).index) for path in paths
        ]
