"""The derived history: it answers as the embedded store does, and starts again when it must."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugind.errors import StoreError
from plugind.model import FLAPPING, HistoryQuery, StoredTransition, Transition
from plugind.model.times import SECOND
from plugind.store import derived_history
from plugind.store.base import AHEAD, Retention
from plugind.store.derived_history import DerivedHistory
from plugind.store.sqlite import SqliteStore
from plugind.testing.stores.making import TIME, change, commit, node_id, transition
from tests.promises import PATIENCE

WITHIN = 1 << 20
"""The seqs of a change's transitions start at its index times this number: far apart, as in a store
that gives each change its own range of numbers."""

moments = st.one_of(
    st.integers(0, 20).map(lambda seconds: seconds * SECOND),
    st.sampled_from((AHEAD, AHEAD + 30 * SECOND, 10 * AHEAD)),
)


@st.composite
def transitions(draw: st.DrawFn, time: int) -> Transition:
    kind = draw(st.sampled_from(("healthy", "unhealthy", FLAPPING)))
    since = TIME if kind == FLAPPING else time
    return transition(
        kind,
        draw(st.sampled_from(("ebs", "efs"))),
        draw(st.integers(1, 2)),
        time=time,
        since=since,
        type=draw(st.sampled_from(("sample", "other"))),
        after=draw(st.text(max_size=3)),
        healthy=draw(st.booleans()),
        count=draw(st.integers(0, 9)),
        until=time if kind == FLAPPING else 0,
    )


@st.composite
def histories(draw: st.DrawFn) -> list[list[Transition]]:
    """Return the transitions of changes; each change has one time, which may be before the previous
    one."""
    times = draw(st.lists(moments, max_size=20))
    return [draw(st.lists(transitions(TIME + each), min_size=1, max_size=4)) for each in times]


retentions = st.builds(
    Retention, st.sampled_from((5 * SECOND, 10**18)), st.sampled_from((3, 1_000))
)


def numbered(
    store: SqliteStore, changes: Sequence[Sequence[Transition]]
) -> Iterator[list[StoredTransition]]:
    """Commit changes one by one, and yield the rows that each of them adds."""
    for each in changes:
        (index,) = commit(store, change([], time=each[-1].time, transitions=tuple(each)))
        yield [
            StoredTransition(index * WITHIN + number, index, one) for number, one in enumerate(each)
        ]


def compared(
    found: Sequence[StoredTransition], expected: Sequence[StoredTransition], seqs: dict[int, int]
) -> None:
    """Fail unless two answers are equal apart from the numbers of their rows."""
    assert [(each.index, each.transition) for each in found] == [
        (each.index, each.transition) for each in expected
    ]
    for ours, theirs in zip(found, expected, strict=True):
        assert seqs.setdefault(theirs.seq, ours.seq) == ours.seq


def check_queries(store: SqliteStore, derived: DerivedHistory) -> None:
    seqs: dict[int, int] = {}
    everything = store.history(HistoryQuery(limit=1_000))
    compared(derived.select(HistoryQuery(limit=1_000)), everything, seqs)
    assert derived.deleted_until == store.deleted_until()
    indexes = sorted({0, 1, *(each.index for each in everything), 10_000})
    filters: list[dict[str, Any]] = [
        {},
        {"type": "sample"},
        {"type": "other", "id": "efs"},
        {"node_id": node_id(1)},
        {"type": "sample", "id": "ebs", "node_id": node_id(2)},
    ]
    for each in filters:
        for limit in (4, 1_000):
            query = HistoryQuery(limit=limit, **each)
            compared(derived.select(query), store.history(query), seqs)
            for index in indexes:
                query = HistoryQuery(limit=limit, after_index=index, **each)
                compared(derived.select(query), store.history(query), seqs)
            for theirs, ours in list(seqs.items()):
                for key in ("before", "after"):
                    found = derived.select(HistoryQuery(limit=limit, **each, **{key: ours}))
                    expected = store.history(HistoryQuery(limit=limit, **each, **{key: theirs}))
                    compared(found, expected, seqs)


@settings(max_examples=20, deadline=None)
@given(histories(), retentions)
def test_it_answers_as_the_embedded_store(
    changes: list[list[Transition]], retention: Retention
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(SqliteStore(None, Path(folder))) as store,
        closing(DerivedHistory(Path(folder) / "history.db", store.identity)) as derived,
    ):
        store.retention = retention
        for rows in numbered(store, changes):
            derived.append(rows, rows[-1].index, retention)
        assert derived.index == (store.load().index if changes else 0)
        check_queries(store, derived)


@settings(max_examples=20, deadline=None)
@given(histories(), st.data())
def test_it_does_not_matter_how_it_is_fed(
    changes: list[list[Transition]], data: st.DataObject
) -> None:
    """Feed rows in batches of any size, split within a change or repeated as after a break."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(SqliteStore(None, Path(folder))) as store,
        closing(DerivedHistory(Path(folder) / "history.db", store.identity)) as derived,
    ):
        batches = list(numbered(store, changes))
        done = 0
        while done < len(batches):
            first = data.draw(st.integers(0, done))
            last = data.draw(st.integers(done + 1, len(batches)))
            rows = [row for batch in batches[first:last] for row in batch]
            derived.append(rows, rows[-1].index)
            done = last
        check_queries(store, derived)


def rows(first: int, last: int, **more: Any) -> list[StoredTransition]:
    return [
        StoredTransition(n * 10, n, transition(time=TIME + n, after=str(n), **more))
        for n in range(first, last)
    ]


def afters(derived: DerivedHistory) -> list[str]:
    found = derived.select(HistoryQuery(limit=1_000))
    return [each.transition.after for each in found]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def fill(path: Path) -> None:
    with closing(DerivedHistory(path, "one")) as derived:
        derived.append(rows(1, 40), 50)


def test_it_goes_on_where_it_ended(path: Path) -> None:
    fill(path)
    with closing(DerivedHistory(path, "one")) as derived:
        assert derived.index == 50
        assert derived.oldest == (10, 1)
        derived.append(rows(30, 61), 60)
        assert afters(derived) == [str(number) for number in range(60, 0, -1)]
        derived.append([], 70)
        derived.append([], 65)
        assert derived.index == 70


def garbled(path: Path) -> None:
    text = bytearray(path.read_bytes())
    text[4096 + 16 : -4096] = b"x" * (len(text) - 8192 - 16)
    path.write_bytes(text)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def no_database(path: Path) -> None:
    path.write_text("this is no database, but long enough to be looked at " * 100)


def of_another_schema(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("ALTER TABLE transitions ADD COLUMN more")
        db.execute('CREATE TABLE "odd "" name" (a)')
        db.execute("PRAGMA user_version = 3")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_two_stores(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO derived SELECT 'two', 9, 9, 9, 0")


@pytest.mark.parametrize(
    "fault", [garbled, cut, no_database, of_another_schema, empty, of_two_stores]
)
def test_it_begins_anew_where_the_file_is_not_what_it_left(
    path: Path, fault: Callable[[Path], None]
) -> None:
    fill(path)
    fault(path)
    with closing(DerivedHistory(path, "one")) as derived:
        assert (derived.index, derived.oldest, afters(derived)) == (0, None, [])
        derived.append(rows(1, 3), 3)
    with closing(DerivedHistory(path, "one")) as derived:
        assert (derived.index, afters(derived)) == (3, ["2", "1"])


def test_it_begins_anew_for_another_store(path: Path) -> None:
    fill(path)
    with closing(DerivedHistory(path, "two")) as derived:
        assert (derived.index, afters(derived)) == (0, [])


def test_it_begins_anew_when_asked(path: Path) -> None:
    fill(path)
    with closing(DerivedHistory(path, "one")) as derived:
        derived.clear()
        assert (derived.index, afters(derived)) == (0, [])
        derived.append(rows(5, 6), 5)
        assert (derived.index, afters(derived)) == (5, ["5"])


def test_others_write_before_or_after_what_is_done_at_once(path: Path) -> None:
    fill(path)
    with closing(DerivedHistory(path, "one")) as one, closing(DerivedHistory(path, "one")) as two:
        with ThreadPoolExecutor(1) as pool:
            with one.at_once():
                one.clear()
                later = pool.submit(two.append, rows(40, 42), 41)
                one.append(rows(1, 20), 0)
                assert not later.done()
                assert afters(two) == [str(number) for number in range(39, 0, -1)]
                one.append(rows(20, 40), 39)
            later.result(PATIENCE)
        assert afters(one) == [str(number) for number in range(41, 0, -1)]
        with suppress(RuntimeError), one.at_once():
            one.clear()
            raise RuntimeError
        two.append(rows(42, 43), 42)
        assert afters(one) == [str(number) for number in range(42, 0, -1)]


def test_what_is_too_many_or_too_old_leaves_in_small_steps(path: Path) -> None:
    with closing(DerivedHistory(path, "one")) as derived:
        derived.append(rows(1, 1001), 1000)
        many = Retention(maximum=500)
        gone = []
        while not gone or gone[-1]:
            gone.append(derived.prune(many, TIME))
        assert gone == [200, 200, 100, 0]
        assert derived.oldest == (5010, 501)
        assert len(afters(derived)) == derived.size == 500
        old = Retention(keep=100)
        assert [derived.prune(old, TIME + 10**12) for _ in range(3)] == [200, 198, 0]
        assert derived.oldest == (8990, 899), "the last of the old says since when all is here"
        derived.append(rows(1001, 1011), 1010, Retention(maximum=20))
        assert len(afters(derived)) == 102 + 10 - 20
        assert derived.prune(Retention(keep=-(10**9)), TIME) > 0
        assert afters(derived)[0] == "1010", "the newest one stays"


def test_a_clock_that_leapt_prunes_nothing(path: Path) -> None:
    with closing(DerivedHistory(path, "one")) as derived:
        derived.append(rows(1, 10), 10)
        leapt = [rows(10, 11)[0].changed(transition=transition(time=TIME + 10**18))]
        derived.append(leapt, 11, Retention(keep=10**6))
        assert len(afters(derived)) == 10


def test_a_file_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        DerivedHistory(tmp_path / "missing" / "history.db", "one")
    assert str(tmp_path / "missing") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_closed_says_so(path: Path) -> None:
    derived = DerivedHistory(path, "one")
    derived.append(rows(1, 9), 9)
    derived.select(HistoryQuery())
    derived.close()
    derived.close()
    for call in (
        lambda: derived.select(HistoryQuery()),
        lambda: derived.append([], 10),
        derived.clear,
        lambda: derived.index,
    ):
        with pytest.raises(StoreError, match="is closed"):
            call()


def test_readers_see_whole_changes_while_one_writes(path: Path) -> None:
    over = threading.Event()

    def read() -> int:
        largest = 0
        while not over.is_set():
            index = derived.index
            found = derived.select(HistoryQuery(limit=1_000, after_index=index - 3))
            assert len(found) % 3 == 0, "a change of three is there or not"
            assert found[-1].index >= index >= largest
            largest = index
        return largest

    with closing(DerivedHistory(path, "one")) as derived, ThreadPoolExecutor(3) as pool:
        derived.append([], 1)
        one = transition()
        derived.append([StoredTransition(n, 1, one) for n in (1, 2, 3)], 1)
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for index in range(2, 200):
                batch = [StoredTransition(index * 10 + n, index, one) for n in range(3)]
                derived.append(batch, index)
        finally:
            over.set()
        assert all(each.result(PATIENCE) <= 199 for each in readers)


FEEDER = """
import sys
from pathlib import Path
from plugind.store.derived_history import DerivedHistory
from tests.store.test_derived_history import rows
derived = DerivedHistory(Path(sys.argv[1]), "one")
print("ready", flush=True)
sys.stdin.readline()
for number in range(1, 300):
    derived.append(rows(number, number + 1), number)
print("done", flush=True)
sys.stdin.readline()
"""


def test_processes_feed_one_file(path: Path) -> None:
    """Let each worker of a server follow the store, and kill one while the file is open."""
    feeders = [
        subprocess.Popen(
            [sys.executable, "-c", FEEDER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(2)
    ]
    try:
        for word in ("ready\n", "done\n"):
            for each in feeders:
                assert each.stdout
                assert each.stdout.readline() == word
            for each in feeders:
                assert each.stdin
                if word == "ready\n":
                    each.stdin.write("\n")
                    each.stdin.flush()
        feeders[0].send_signal(signal.SIGKILL)
    finally:
        for each in feeders:
            with each:
                each.kill()
    with closing(DerivedHistory(path, "one")) as derived:
        assert derived.index == 299
        assert afters(derived) == [str(number) for number in range(299, 0, -1)]


def test_its_table_is_that_of_the_embedded_store(tmp_path: Path, path: Path) -> None:
    fill(path)
    SqliteStore(None, tmp_path).close()
    shapes = []
    for file in (path, tmp_path / "plugind.db"):
        with closing(sqlite3.connect(file)) as db:
            columns = [row[1:4] for row in db.execute("PRAGMA table_info(transitions)")]
            indexes = db.execute(
                "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'transitions' "
                "AND type = 'index' ORDER BY name"
            ).fetchall()
            shapes.append((columns, [(name, " ".join(sql.split())) for name, sql in indexes]))
    assert shapes[0] == shapes[1]
    assert len(shapes[0][1]) == 3


def test_its_files_are_those_that_it_names(path: Path) -> None:
    with closing(DerivedHistory(path, "one")) as derived:
        derived.append(rows(1, 9), 9)
        there = {each.name for each in path.parent.iterdir()}
        assert there == set(derived_history.FILES)
    derived_history.remove(path.parent)
    assert not list(path.parent.iterdir())
    derived_history.remove(path.parent)


def test_an_hour_of_flapping_keeps_its_place(path: Path) -> None:
    flapping = transition(FLAPPING, time=TIME, since=TIME, count=5, until=TIME + 1)
    later = flapping.changed(time=TIME + 9, count=8, until=TIME + 9, after="later")
    with closing(DerivedHistory(path, "one")) as derived:
        derived.append([StoredTransition(10, 2, flapping)], 2)
        derived.append(rows(3, 4), 3)
        derived.append([StoredTransition(40, 4, later)], 4)
        found = derived.select(HistoryQuery())
        assert [each.seq for each in found] == [30, 10]
        assert (found[1].transition.count, found[1].transition.time) == (8, TIME)
        derived.append([StoredTransition(40, 4, flapping)], 4)
        assert derived.select(HistoryQuery()) == found, "what came again changes nothing"
        assert derived.prune(Retention(maximum=1), TIME) == 1


def test_rows_of_the_store_are_read_back_as_they_were(path: Path) -> None:
    every = rows(1, 30)
    with closing(DerivedHistory(path, "one")) as derived:
        derived.append(every, 30)
        assert derived.select(HistoryQuery(after=0)) == every
