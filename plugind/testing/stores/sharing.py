"""Cases: the newest index, beats and the duty, which processes share in addition to the log."""

from __future__ import annotations

from plugind.model import Beat, Contact
from plugind.store.base import FIRST_INDEX, Store
from plugind.testing.stores.conflicting import run
from plugind.testing.stores.making import TIME, commit, drop, indexes, node, node_id, put
from plugind.testing.stores.rig import Cases, Rig

cases = Cases()


def _last(store: Store) -> dict[str, Beat]:
    """Return the last beat of each node."""
    return dict(sorted(store.heard(0).beats, key=lambda each: each[1].heard))


@cases.add
def every_process_knows_the_newest_index(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    (index,) = commit(store, put(node(1)))
    assert other.newest() >= index
    assert other.wait(index - 1, 10)
    assert other.read(index - 1)[-1].index == index
    (later,) = commit(other, put(node(2), base=index))
    assert store.newest() >= later > index
    assert rig.restarted().newest() >= later


@cases.add
def the_newest_index_is_known_before_a_writer_is_answered(rig: Rig) -> None:
    """Have two writers write and check each other's newest index, as fast as they can."""
    stores = [rig.open(), rig.open()]
    (base,) = commit(stores[0], put(node(1)))
    late: list[tuple[int, int]] = []
    acknowledged = [base]

    def write(which: int) -> None:
        for number in range(20):
            made = put(node(100 * which + number), base=base, reads=frozenset())
            (index,) = indexes(stores[which].commit([made]))
            acknowledged.append(index)
            at_least = max(acknowledged)
            if (found := stores[1 - which].newest()) < at_least:
                late.append((at_least, found))

    run([lambda: write(0), lambda: write(1)])
    assert not late
    assert len(set(acknowledged)) == 41
    assert rig.open().newest() >= max(acknowledged)


@cases.add
def what_is_newest_can_be_waited_for_and_read(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    index = FIRST_INDEX
    for number in range(10):
        (index,) = commit(other, put(node(number), base=index))
        newest = store.newest()
        assert store.wait(newest - 1, 10)
        assert store.read(FIRST_INDEX)[-1].index >= newest
        assert store.load().index >= newest


@cases.add
def a_store_in_reach_says_so(rig: Rig) -> None:
    known, age = rig.open().contact
    assert known
    assert age < 10
    assert Contact() == (True, 0.0)


@cases.add
def beats_are_shared_and_kept(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    commit(store, put(node(1), node(2)))
    store.beat({node_id(1): Beat(TIME, 5), node_id(2): Beat(TIME, 10)})
    assert _last(other) == {node_id(1): Beat(TIME, 5), node_id(2): Beat(TIME, 10)}
    other.beat({node_id(1): Beat(TIME + 10, 5)})
    wanted = {node_id(1): Beat(TIME + 10, 5), node_id(2): Beat(TIME, 10)}
    assert store.load().beats == wanted
    store = rig.restarted()
    assert store.load().beats == wanted
    assert _last(store) == wanted


@cases.add
def beats_are_heard_after_a_cursor(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    commit(store, put(node(1), node(2)))
    store.beat({node_id(1): Beat(TIME, 5)})
    cursor, found = other.heard(0)
    assert list(found) == [(node_id(1), Beat(TIME, 5))]
    assert other.heard(cursor) == (cursor, [])
    store.beat({node_id(2): Beat(TIME + 1, 5)})
    other.beat({node_id(1): Beat(TIME + 2, 5)})
    for reader in (store, other):
        after, found = reader.heard(cursor)
        assert [each for each, _ in found] == [node_id(2), node_id(1)]
        assert after > cursor
        assert not reader.heard(after).beats


@cases.add
def the_beats_of_two_agents_of_a_node_are_kept(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    commit(store, put(node(1)))
    store.beat({node_id(1): Beat(TIME, 5, "one")})
    other.beat({node_id(1): Beat(TIME + 1, 5, "two")})
    assert [beat.run for _, beat in store.heard(0).beats] == ["one", "two"]
    assert store.load().beats == {node_id(1): Beat(TIME + 1, 5, "two")}


@cases.add
def a_beat_that_is_kept_again_is_heard_again(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    commit(store, put(node(1), node(2)))
    store.beat({node_id(1): Beat(TIME, 5, "a"), node_id(2): Beat(TIME, 5, "a")})
    cursor, _ = other.heard(0)
    for number in range(1, 4):
        store.beat({node_id(1): Beat(TIME + number, 5, "a")})
        cursor, found = other.heard(cursor)
        assert list(found) == [(node_id(1), Beat(TIME + number, 5, "a"))]
    store.beat({})
    assert not other.heard(cursor).beats


@cases.add
def no_beat_is_missed_after_one_that_went_with_its_node(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    commit(store, put(node(1), node(2)))
    store.beat({node_id(2): Beat(TIME, 5)})
    store.beat({node_id(1): Beat(TIME, 5)})
    cursor, _ = other.heard(0)
    commit(store, drop(node(1)))
    store.beat({node_id(2): Beat(TIME + 1, 5)})
    assert list(other.heard(cursor).beats) == [(node_id(2), Beat(TIME + 1, 5))]


@cases.add
def a_beat_is_no_change(rig: Rig) -> None:
    store = rig.open()
    (index,) = commit(store, put(node()))
    store.beat({node_id(1): Beat(TIME, 5)})
    assert store.load().index == index
    assert not store.read(index)


@cases.add
def beats_go_with_their_nodes(rig: Rig) -> None:
    store = rig.open()
    commit(store, put(node(1), node(2)))
    store.beat({node_id(1): Beat(TIME, 5, "a"), node_id(2): Beat(TIME, 5)})
    store.beat({node_id(1): Beat(TIME, 5, "b")})
    commit(store, drop(node(1)))
    for reader in rig.readers(store):
        assert set(_last(reader)) == set(reader.load().beats) == {node_id(2)}


@cases.add
def many_beats_are_kept_at_once(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    commit(store, put(*(node(number) for number in range(1_000))))
    store.beat({node_id(number): Beat(TIME + number, 5) for number in range(1_000)})
    assert len(other.heard(0).beats) == 1_000


@cases.add
def one_process_has_the_duty_until_it_closes(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    assert store.has_duty()
    assert not other.has_duty()
    assert store.has_duty()
    rig.shut(store)
    assert rig.soon(other.has_duty)
    assert not rig.open().has_duty()


@cases.add
def of_many_that_ask_at_once_one_has_the_duty(rig: Rig) -> None:
    stores = [rig.open() for _ in range(4)]
    found: list[bool] = []

    def ask(store: Store) -> None:
        found.append(store.has_duty())

    run([lambda store=store: ask(store) for store in stores])
    assert sorted(found) == [False, False, False, True]
