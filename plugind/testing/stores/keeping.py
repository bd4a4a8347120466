"""Cases: history, which is bounded and newest first, and the runs of server processes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from plugind.model import FLAPPING, HistoryQuery, Run, StoredTransition, Transition
from plugind.store import exporting
from plugind.store.base import (
    FIRST_INDEX,
    RUNS_KEPT,
    Conflict,
    Retention,
    Store,
    no_progress,
)
from plugind.testing.stores.conflicting import run
from plugind.testing.stores.making import (
    TIME,
    commit,
    drop,
    instance,
    node,
    node_id,
    put,
    swap,
    transition,
)
from plugind.testing.stores.rig import Cases, Rig

cases = Cases()

SECOND = 10**9


def note(store: Store, *transitions: Transition) -> int:
    """Commit a change with these transitions and nothing else. Return its index."""
    time = max((each.time for each in transitions), default=TIME)
    (index,) = commit(store, put(transitions=transitions, time=time))
    return index


def at(second: int, **more: Any) -> Transition:
    """Return a transition, that many seconds after TIME."""
    return transition(**{"time": TIME + second * SECOND, "after": str(second), **more})


def afters(found: Any) -> list[str]:
    return [each.transition.after for each in found]


@cases.add
def transitions_come_back_whole_newest_first(rig: Rig) -> None:
    store = rig.open()
    more = {"version": "v1.2", "until": TIME + 3}
    of_node = Transition("down", TIME, TIME, "", "", "", "n", "vm", "ready", "down", "ä", False)
    first = note(store, at(1), at(2, count=3, healthy_seconds=4, **more))
    second = note(store, of_node.changed(time=TIME + 9 * SECOND))
    for reader in rig.readers(store):
        found = reader.history(HistoryQuery())
        assert [each.index for each in found] == [second, first, first]
        assert [each.seq for each in found] == sorted((each.seq for each in found), reverse=True)
        assert [each.transition for each in found] == [
            of_node.changed(time=TIME + 9 * SECOND),
            at(2, count=3, healthy_seconds=4, **more),
            at(1),
        ]


@cases.for_each(
    (HistoryQuery(type="sample"), "320"),
    (HistoryQuery(type="sample", id="b"), "3"),
    (HistoryQuery(id="ebs"), "210"),
    (HistoryQuery(node_id=node_id(1)), "530"),
    (HistoryQuery(type="other", id="ebs", node_id=node_id(2)), "1"),
    (HistoryQuery(type="none"), ""),
    (HistoryQuery(limit=2), "53"),
    (HistoryQuery(type="sample", limit=1), "3"),
)
def a_query_selects(rig: Rig, query: tuple[HistoryQuery, str]) -> None:
    store = rig.open()
    node_only = {"type": "", "plugin": "", "role": ""}
    note(store, at(0), at(1, type="other", number=2), at(2, number=2), at(3, plugin="b"))
    note(store, at(5, **node_only))
    for reader in (store, rig.open()):
        assert "".join(afters(reader.history(query[0]))) == query[1]


@cases.add
def history_is_read_page_by_page(rig: Rig) -> None:
    store = rig.open()
    for number in range(25):
        note(store, at(number))
    found: list[StoredTransition] = []
    before = None
    while page := store.history(HistoryQuery(before=before, limit=7)):
        assert len(page) <= 7
        found += page
        before = page[-1].seq
    assert afters(found) == [str(number) for number in reversed(range(25))]


@cases.add
def history_is_read_from_a_change_on(rig: Rig) -> None:
    store = rig.open()
    for number in range(0, 24, 2):
        note(store, at(number), at(number + 1))
    indexes = [each.index for each in store.history(HistoryQuery(after=0, limit=1_000))]
    assert indexes == sorted(indexes)
    for index in (0, 1, *indexes, indexes[-1] + 1):
        expected = [str(number) for number, one in enumerate(indexes) if one > index]
        found: list[StoredTransition] = []
        query = HistoryQuery(after_index=index, limit=7)
        while page := store.history(query):
            found += page
            query = HistoryQuery(after=page[-1].seq, limit=7)
        assert afters(found) == expected
    assert not rig.restarted().history(HistoryQuery(after_index=indexes[-1]))


@cases.add
def history_is_read_from_the_oldest_that_is_kept(rig: Rig) -> None:
    store = rig.open()
    store.retention = Retention(maximum=5)
    assert not store.history(HistoryQuery(after_index=0))
    for number in range(30):
        note(store, at(number))
    kept = store.history(HistoryQuery(limit=1_000))
    assert store.history(HistoryQuery(after_index=0, limit=1_000)) == kept[::-1]
    assert store.history(HistoryQuery(after=kept[1].seq)) == kept[:1]


@cases.add
def a_clock_set_back_does_not_reorder_history(rig: Rig) -> None:
    store = rig.open()
    note(store, at(100))
    note(rig.open(), at(50))
    note(rig.restarted(), at(70, type="x"))
    times = [each.transition.time for each in rig.open().history(HistoryQuery())]
    assert times == [TIME + 100 * SECOND] * 3


@cases.add
def a_clock_that_was_far_ahead_takes_no_later_transition_along(rig: Rig) -> None:
    store = rig.open()
    store.retention = Retention(keep=3_600 * SECOND)
    note(store, at(0), at(1))
    flapping = at(90_001, kind=FLAPPING, since=TIME + 90_000 * SECOND, until=TIME + 90_001 * SECOND)
    note(store, at(90_000), flapping)
    note(rig.open(), at(70))
    note(rig.restarted(), at(71))
    found = rig.open().history(HistoryQuery())[::-1]
    assert afters(found) == ["0", "1", "90000", "90001", "70", "71"]
    assert [(each.transition.time - TIME) // SECOND for each in found] == [0, 1, 70, 70, 70, 71]
    flapped = found[3].transition
    assert (flapped.since, flapped.until) == (TIME + 70 * SECOND, TIME + 70 * SECOND)


@cases.add
def nothing_leaves_for_a_clock_that_was_ahead_once(rig: Rig) -> None:
    store = rig.open()
    store.retention = Retention(keep=100 * SECOND)
    for number in (0, 1, 2, 9_000, 3, 4, 5):
        note(store, at(number))
    assert afters(store.history(HistoryQuery())) == ["5", "4", "3", "9000", "2", "1", "0"]
    for number in (300, 301, 302, 303):
        note(store, at(number))
    assert afters(rig.restarted().history(HistoryQuery())) == ["303", "302", "301", "300", "5"]


@cases.add
def too_many_leave_oldest_first_in_small_steps(rig: Rig) -> None:
    store = rig.open()
    note(store, *(at(number) for number in range(500)))
    store.retention = Retention(maximum=10)
    sizes = []
    for number in range(500, 520):
        note(store, at(number))
        sizes.append(len(store.history(HistoryQuery(limit=1_000))))
    assert all(before - after <= 1 for before, after in pairwise(sizes))
    for number in range(520, 820, 100):
        note(store, *(at(each) for each in range(number, number + 100)))
    assert len(store.history(HistoryQuery(limit=1_000))) <= 500
    for number in range(1_000, 1_500):
        note(store, at(number))
    assert afters(rig.restarted().history(HistoryQuery(limit=1_000))) == [
        str(number) for number in reversed(range(1_490, 1_500))
    ]


@cases.add
def the_old_leave_but_for_the_last_of_them(rig: Rig) -> None:
    store = rig.open()
    store.retention = Retention(keep=60 * SECOND)
    (first,) = [note(store, at(0))]
    seq = store.history(HistoryQuery())[0].seq
    for number in (10, 20, 1_000, 1_001, 1_002):
        note(store, at(number))
    found = rig.restarted().history(HistoryQuery())
    assert afters(found) == ["1002", "1001", "1000", "20"]
    assert found[-1].seq > seq
    assert first < found[-1].index


@cases.add
def order_goes_on_when_all_but_the_newest_left(rig: Rig) -> None:
    store = rig.open()
    store.retention = Retention(keep=1, maximum=1)
    seqs = []
    for number in range(5):
        note(store, at(10 * number))
        seqs.append(rig.open().history(HistoryQuery())[0].seq)
    assert seqs == sorted(set(seqs))


@cases.add
def flapping_of_an_hour_is_one_row(rig: Rig) -> None:
    store = rig.open()
    flapping = at(1, kind=FLAPPING, since=TIME, count=61, healthy_seconds=5)
    note(store, at(0), flapping)
    note(store, at(2, type="x"))
    place = store.history(HistoryQuery(type="sample"))[0].seq
    more = flapping.changed(time=TIME + 9 * SECOND, count=70, healthy_seconds=9, healthy=False)
    changed: dict[str, Any] = {
        "before": "x",
        "after": "unhealthy",
        "version": "v2",
        "until": TIME + 9 * SECOND,
    }
    note(rig.open(), more.changed(reason="böse", **changed))
    found = rig.restarted().history(HistoryQuery())
    assert afters(found) == ["2", "unhealthy", "0"]
    assert found[1].seq == place
    row = found[1].transition
    assert (row.count, row.healthy_seconds, row.healthy, row.reason) == (70, 9, False, "böse")
    assert (row.before, row.version, row.until) == (flapping.before, "v2", TIME + 9 * SECOND)
    assert row.time == flapping.time


@cases.for_each("since", "node_id", "id", "role")
def other_flapping_is_another_row(rig: Rig, field: str) -> None:
    store = rig.open()
    one = at(1, kind=FLAPPING, count=61)
    note(store, one)
    other: Any = 5 if field == "since" else "other"
    note(store, one.changed(**{field: other}))
    assert len(store.history(HistoryQuery())) == 2


@cases.add
def what_is_gone_keeps_its_history(rig: Rig) -> None:
    store = rig.open()
    commit(store, put(node(), instance(), transitions=(at(1),)))
    commit(store, drop(node(), instance(), transitions=(at(2, kind="left"),)))
    assert afters(rig.restarted().history(HistoryQuery("sample", "ebs"))) == ["2", "1"]


@cases.add
def what_was_not_committed_leaves_no_history(rig: Rig) -> None:
    store = rig.open()
    (base,) = commit(store, put(node()))
    commit(store, swap(node(), node(name="x"), base))
    late = swap(node(), node(name="y"), base, transitions=(at(1),))
    (found,) = store.commit([late])
    assert isinstance(found, Conflict)
    assert not store.history(HistoryQuery())


@cases.for_each(0, -1, 1_001)
def a_query_is_bounded(rig: Rig, limit: int) -> None:
    try:
        HistoryQuery(limit=limit)
    except ValueError:
        return
    raise AssertionError("the limit was accepted")


@cases.add
def history_is_read_from_any_thread(rig: Rig) -> None:
    store = rig.open()
    note(store, at(0))
    found: list[int] = []

    def read() -> None:
        for _ in range(20):
            found.append(len(store.history(HistoryQuery())))

    def write() -> None:
        for number in range(1, 21):
            note(store, at(number))

    run([read, read, write, read])
    assert len(found) == 60
    assert len(store.history(HistoryQuery())) == 21


@cases.add
def runs_are_kept_from_their_first_mark_to_their_last(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    assert not store.runs(0)
    assert not store.load().runs
    store.mark("b", TIME + 5)
    other.mark("a", TIME)
    store.mark("b", TIME + 60)
    wanted = [Run("a", TIME, TIME), Run("b", TIME + 5, TIME + 60)]
    for reader in rig.readers(store):
        assert list(reader.runs(0)) == list(reader.load().runs) == wanted
        assert list(reader.runs(TIME + 1)) == wanted[1:]
        assert list(reader.runs(TIME + 60)) == wanted[1:]
        assert not reader.runs(TIME + 61)


@cases.add
def a_run_whose_clock_is_set_back_does_not_end_before_its_start(rig: Rig) -> None:
    store = rig.open()
    for moment in (TIME, TIME + 60, TIME - 60):
        store.mark("a", moment)
    assert list(store.runs(0)) == [Run("a", TIME, TIME)]
    store.mark("a", TIME + 9)
    assert list(store.runs(0)) == [Run("a", TIME, TIME + 9)]


@cases.add
def a_mark_is_no_change(rig: Rig) -> None:
    store = rig.open()
    (index,) = commit(store, put(node()))
    store.mark("a", TIME)
    assert store.load().index == index
    assert not store.read(index)
    (after,) = commit(store, put(node(2), base=index))
    assert after > index


@cases.add
def the_shortest_of_too_many_runs_leave(rig: Rig) -> None:
    long = Run("long", TIME - 9 * SECOND, TIME - SECOND)
    crashed = [Run(str(number), TIME + number, TIME + number) for number in range(RUNS_KEPT - 1)]
    runs = [long, *crashed]
    file = rig.data_dir / "many"
    exporting.write(file, "x", FIRST_INDEX, {"run": len(runs)}, runs, no_progress)
    rig.kind.import_(rig.settings(), rig.data_dir, file, [])
    store = rig.open()
    assert list(store.runs(0)) == runs
    last = Run("last", TIME + RUNS_KEPT, TIME + RUNS_KEPT)
    store.mark(*last[:2])
    assert list(store.runs(0)) == [long, *crashed[1:], last]
    store.mark(last.id, last.end + SECOND)
    assert list(store.runs(0)) == [long, *crashed[1:], last._replace(end=last.end + SECOND)]
