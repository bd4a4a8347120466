"""SQLite's log with several processes: any of them checkpoints it, it stays bounded while all of
them read, and it is never mistaken for one that was replaced or truncated."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from plugind.errors import StoreError
from plugind.store.sqlite import SqliteStore, checkpoints
from plugind.testing.stores.making import commit, instance, node, put
from tests.promises import SOON, promised
from tests.store.children import child

READS = """
import sqlite3
one, two = (sqlite3.connect(folder / "plugind.db", isolation_level=None) for _ in range(2))
def begin(db):
    db.execute("BEGIN")
    db.execute("SELECT * FROM store").fetchall()
begin(one)
say("ready")
threading.Thread(target=lambda: (hear(), os._exit(0)), daemon=True).start()
while True:
    begin(two); one.execute("COMMIT"); time.sleep(0.002)
    begin(one); two.execute("COMMIT"); time.sleep(0.002)
"""
FOLDS = """
import sqlite3
say("ready")
while hear():
    db = sqlite3.connect(folder / "plugind.db")
    say(*db.execute(f"PRAGMA wal_checkpoint({sys.argv[2]})").fetchone())
    db.close()
"""
MIB = 2**20


def shared(folder: Path) -> closing[SqliteStore]:
    return closing(SqliteStore(None, folder, shared=True))


def large(number: int) -> object:
    return instance(1, f"p{number % 20}", text="x" * 100_000, n=number)


@pytest.mark.alone
def test_readers_that_follow_each_other_do_not_let_it_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "LIMIT", 8 * MIB)
    monkeypatch.setattr(checkpoints, "PAUSE", 0.1)
    sizes = []
    with shared(tmp_path) as store, child(tmp_path, READS) as reader:
        assert reader.hear() == "ready"
        commit(store, put(node(1)))
        for number in range(250):  # 25 MB, and twice as much in pages
            store.commit([put(large(number), base=1, reads=frozenset())])
            sizes.append((tmp_path / "plugind.db-wal").stat().st_size)
    print(f"largest {max(sizes) / MIB:.1f} MiB")
    assert max(sizes) < 24 * MIB
    assert sizes == sorted(sizes), "it was never cut"


def test_a_reader_that_stays_costs_writers_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "LIMIT", MIB)
    monkeypatch.setattr(checkpoints, "PAUSE", 1000.0)
    with shared(tmp_path) as store, closing(sqlite3.connect(tmp_path / "plugind.db")) as reader:
        commit(store, put(node(1)))
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM store").fetchall()
        with promised(SOON):  # one wait of 0.2 s, and no other
            for number in range(30):
                store.commit([put(large(number), base=1, reads=frozenset())])
        assert store._db.execute("PRAGMA busy_timeout").fetchone() == (10_000,)


@pytest.mark.parametrize("mode", ["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
def test_checkpoints_by_others_are_no_damage(tmp_path: Path, mode: str) -> None:
    with (
        shared(tmp_path) as store,
        shared(tmp_path) as other,
        child(tmp_path, FOLDS, mode) as folder,
    ):
        assert folder.hear() == "ready"
        commit(store, put(node(1)))
        for number in range(10):
            store.commit([put(large(number), base=1, reads=frozenset())])
            folder.say("fold")
            assert folder.hear().startswith("0 ")
            other.commit([put(large(number + 5), base=1, reads=frozenset())])
        assert len(store.load().instances) == 15


def test_a_log_that_is_cut_under_several_processes_is_noticed(tmp_path: Path) -> None:
    with shared(tmp_path) as store, shared(tmp_path) as other:
        commit(store, put(node(1)), put(node(2)))
        commit(other, put(node(3)))
        with (tmp_path / "plugind.db-wal").open("r+b") as log:
            log.truncate(5_000)
        for each in (store, other):
            with pytest.raises(StoreError):
                commit(each, put(node(4)))
