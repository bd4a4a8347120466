"""Backups and checks by the real command, beside a server that takes reports meanwhile."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes import PLUGIND
from tests.support import FakeAgent, down, serving, up


def store(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PLUGIND, "store", *words], capture_output=True, text=True, timeout=30)


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
    ("fault", "told"),
    [
        ("DELETE FROM nodes", "1 instances have no node"),
        ("UPDATE store SET last_index = 1", "stamps are ahead"),
        ("DELETE FROM store", "missing"),
        ("PRAGMA user_version = 99", "its schema is 99"),
    ],
)
def test_damage_is_told_in_one_line(tmp_path: Path, fault: str, told: str) -> None:
    with serving(tmp_path, live=False) as api:
        FakeAgent(api).report({"ebs0": {"node": up()}})
    with closing(sqlite3.connect(tmp_path / "plugind.db")) as db, db:
        db.execute(fault)
    done = store("check", "--data-dir", tmp_path)
    assert done.returncode == 1
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


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
