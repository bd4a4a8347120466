"""The locks that SQLite holds on its files, which a process loses when it closes any descriptor of
one of them (https://sqlite.org/howtocorrupt.html, section 2.2): the next process that closes the
database then deletes the log while others use it, and with it all commits since."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from plugind.store.sqlite import SqliteStore
from plugind.testing.stores.making import commit, node, put
from tests.promises import PATIENCE
from tests.store.children import child

WATCHED = """
import os, sys, threading
from pathlib import Path
folder, forbidden = Path(sys.argv[1]), []
guarded = {str(folder / (name + part)) for name in ("plugind.db", "beats.db")
           for part in ("", "-wal", "-shm")}
is_open = threading.Event()
def watch(event, args):
    if event == "open" and is_open.is_set() and isinstance(args[0], (str, bytes)):
        if os.path.realpath(os.fsdecode(args[0])) in guarded:
            forbidden.append(os.fsdecode(args[0]))
sys.addaudithook(watch)
"""
USES_EVERYTHING = """
from plugind.model import Beat, HistoryQuery
from plugind.store.sqlite import SqliteStore
from plugind.testing.stores.making import TIME, commit, drop, instance, node, node_id, put
from plugind.testing.stores.making import transition
shared = sys.argv[2] == "shared"
store = SqliteStore(None, folder, shared=shared)
is_open.set()
if sys.argv[3] == "careless":
    open(folder / "plugind.db", "rb").close()

def use():
    (index,) = commit(store, put(node(1), node(2), instance(1), transitions=(transition(),)))
    store.read(1), store.wait(1, 0), store.newest(), store.load(), store.history(HistoryQuery())
    store.beat({node_id(1): Beat(TIME, 5)}), store.heard(0), store.has_duty(), store.trouble
    store.mark("run", TIME), store.runs(0), store.size, store.contact, store.interrupt()
    commit(store, drop(node(2)))

def look_after():
    SqliteStore.check(None, folder)
    SqliteStore.backup(None, folder, folder / "copy")
    SqliteStore.export(None, folder, folder / "exported")
    other = folder / "other"
    other.mkdir()
    SqliteStore.restore(None, other, folder / "copy", [])
    SqliteStore.import_(None, other, folder / "exported", [])
    if shared:
        SqliteStore(None, folder, shared=True).close()
    # A log that got shorter has the server look again, by a connection of its own.
    store._guard._known = [(file, size + 1) for file, size in store._guard._known]

use()
thread = threading.Thread(target=look_after)
thread.start(); thread.join()
commit(store, put(node(3)))
assert not forbidden, forbidden
store.close()
print("kept", flush=True)
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WATCHED + USES_EVERYTHING, str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)


@pytest.mark.parametrize("how", ["shared", "alone"])
def test_nothing_but_sqlite_opens_its_files_while_a_store_is_open(tmp_path: Path, how: str) -> None:
    done = run(tmp_path, how, "careful")
    assert (done.stdout, done.stderr) == ("kept\n", "")


def test_a_file_that_is_opened_is_noticed(tmp_path: Path) -> None:
    done = run(tmp_path, "shared", "careless")
    assert "AssertionError: ['" in done.stderr
    assert "plugind.db" in done.stderr


def test_the_log_stays_while_others_open_and_close(tmp_path: Path) -> None:
    """Open, check and close stores around one process, and find its last commit."""
    script = """
say(store.commit(blind(1))[0]); hear()
say(store.commit(blind(2))[0]); hear()
"""
    with child(tmp_path, script) as writer:
        assert writer.hear()
        log = (tmp_path / "plugind.db-wal").stat().st_ino
        for _ in range(3):
            SqliteStore(None, tmp_path, shared=True).close()
            SqliteStore.check(None, tmp_path)
        assert (tmp_path / "plugind.db-wal").stat().st_ino == log
        writer.say()
        index = int(writer.hear())
        with closing(SqliteStore(None, tmp_path, shared=True)) as store:
            commit(store, put(node(7)))
        assert (tmp_path / "plugind.db-wal").stat().st_ino == log
        writer.kill()
    assert SqliteStore.check(None, tmp_path).index == index + 1
