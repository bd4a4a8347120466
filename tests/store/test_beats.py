"""When nodes were last heard, shared by processes: numbered, pruned, and restarted if necessary."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from plugind.model import Beat
from plugind.store.sqlite import SqliteStore, beats
from plugind.store.sqlite.beats import RUNS_KEPT, Beats
from plugind.testing.stores.making import TIME, commit, node, node_id, put
from tests.store.children import child

BEATS = """
start, count = int(sys.argv[2]), int(sys.argv[3])
say("ready"); hear()
begun = time.monotonic()
for number in range(count):
    store.beat({node_id(start + number % 50): Beat(TIME + number, 5, "run")})
say(time.monotonic() - begun); hear()
"""


def last(found: Beats) -> dict[str, Beat]:
    return dict(found.heard(0).beats)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with closing(Beats(tmp_path, "x")) as made:
        for _ in range(3):
            made.put({"a": Beat(TIME, 5, "one"), "b": Beat(TIME + 1, 6)})
    return tmp_path


def test_a_clean_file_is_gone_on_with(data: Path) -> None:
    with closing(Beats(data, "x")) as found:
        cursor, kept = found.heard(0)
        assert dict(kept) == {"a": Beat(TIME, 5, "one"), "b": Beat(TIME + 1, 6)}
        found.put({"a": Beat(TIME + 2, 5, "one")})
        assert found.heard(cursor)[1] == [("a", Beat(TIME + 2, 5, "one"))]


def test_numbers_are_never_given_out_again(data: Path) -> None:
    with closing(Beats(data, "x")) as found:
        found.put({"c": Beat(TIME, 5)})
        cursor, _ = found.heard(0)
        found.drop(["c"])
        found.put({"a": Beat(TIME + 9, 5, "one")})
        assert found.heard(cursor)[1] == [("a", Beat(TIME + 9, 5, "one"))]


def test_of_a_node_the_last_agents_are_kept(data: Path) -> None:
    with closing(Beats(data, "x")) as found:
        for number in range(20):
            found.put({"a": Beat(TIME + number, 5, f"run {number}")})
        runs = {beat.run for node, beat in found.heard(0).beats if node == "a"}
        assert runs == {f"run {number}" for number in range(20 - RUNS_KEPT, 20)}
        assert found.all() == {"a": Beat(TIME + 19, 5, "run 19"), "b": Beat(TIME + 1, 6)}


def test_beats_of_another_store_are_not_taken_over(data: Path) -> None:
    with closing(Beats(data, "y")) as found:
        assert last(found) == {}


def test_after_a_restart_of_the_machine_the_file_is_another(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (boot := data / "boot").write_text("another start")
    monkeypatch.setattr(beats, "_BOOT", boot)
    with closing(Beats(data, "x")) as found:
        assert last(found) == {"a": Beat(TIME, 5, "one"), "b": Beat(TIME + 1, 6)}
        assert {number for (number,) in found._db.execute("SELECT number FROM heard")} == {1}
        assert found._db.execute("SELECT boot FROM store").fetchall() == [("another start",)]
        found.put({"a": Beat(TIME + 2, 5, "one")})
        assert last(found)["a"] == Beat(TIME + 2, 5, "one")


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5_000])


def _scribbled(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:4_096] + b"x" * (len(content) - 4_096))


def _emptied(file: Path) -> None:
    file.write_bytes(b"")


def _of_the_first_version(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("CREATE TABLE store (identity TEXT PRIMARY KEY) WITHOUT ROWID")
        db.execute("CREATE TABLE beats (node_id TEXT PRIMARY KEY, heard INTEGER, ttl INTEGER)")
        db.execute("INSERT INTO store VALUES ('x')")
        db.execute("INSERT INTO beats VALUES ('old', 7, 8)")


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        (_cut, {}),
        (_scribbled, {}),
        (_emptied, {}),
        (Path.unlink, {}),
        (_of_the_first_version, {"old": Beat(7, 8)}),
    ],
)
def test_a_file_that_is_damaged_or_old_is_begun_again(
    data: Path, fault: Callable[[Path], object], kept: dict[str, Beat]
) -> None:
    fault(data / "beats.db")
    with closing(Beats(data, "x")) as found:
        assert last(found) == found.all() == kept
        found.put({"a": Beat(TIME, 5)})
        assert last(found) == {**kept, "a": Beat(TIME, 5)}


def test_one_that_comes_later_begins_nothing_again(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Beats(data, "x")) as first:
        monkeypatch.setattr(beats, "_BOOT", data / "none")
        with closing(Beats(data, "x", is_first=False)) as second:
            second.put({"c": Beat(TIME, 5)})
        assert set(last(first)) == {"a", "b", "c"}


def test_reading_after_a_cursor_is_a_look_into_an_index(data: Path) -> None:
    with closing(sqlite3.connect(data / "beats.db")) as db:
        plan = db.execute("EXPLAIN QUERY PLAN SELECT * FROM heard WHERE number > 7").fetchall()
    assert "USING INDEX heard_by_number" in plan[0][-1]


def test_four_processes_keep_each_beat(tmp_path: Path) -> None:
    with closing(SqliteStore(None, tmp_path, shared=True)) as store, ExitStack() as stack:
        commit(store, put(*(node(number) for number in range(200))))
        count = 300
        others = [stack.enter_context(child(tmp_path, BEATS, 50 * n, count)) for n in range(4)]
        assert {each.hear() for each in others} == {"ready"}
        for each in others:
            each.say()
        cursor, found = 0, dict[str, Beat]()
        took = []
        while len(took) < 4:
            took.append(float(others[len(took)].hear()))
            cursor, more = store.heard(cursor)
            found.update(more)
        print(f"{4 * count / max(took):.0f} single beats a second")
        assert found == {
            node_id(number): Beat(TIME + 250 + number % 50, 5, "run") for number in range(200)
        }
