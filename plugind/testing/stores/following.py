"""Cases: the log has every change once, in order, for every follower, from any index."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from plugind.errors import Compacted
from plugind.model import Change, Committed
from plugind.store.base import FIRST_INDEX, Store
from plugind.store.coding import as_logged
from plugind.testing.stores.commits import values
from plugind.testing.stores.conflicting import run
from plugind.testing.stores.making import (
    TIME,
    commit,
    declaration,
    drop,
    forgotten,
    instance,
    kept_secret,
    node,
    put,
    session,
    swap,
    transition,
)
from plugind.testing.stores.rig import Cases, Rig

cases = Cases()

HOUR = 3600 * 10**9
PATIENCE = 20.0
"""Seconds after which a follower that got nothing has failed."""


def logged(store: Store, after: int = FIRST_INDEX) -> list[Committed]:
    return [each.changed(change=as_logged(each.change)) for each in store.read(after, 10_000)]


def ids(found: list[Committed]) -> list[str]:
    return [each.change.id for each in found]


@contextmanager
def following(store: Store, after: int) -> Iterator[list[Any]]:
    """Yield a list to which a thread appends the batches that it follows, and the error that ended
    it, if any."""
    found: list[Any] = []
    stop = threading.Event()

    def follow() -> None:
        try:
            for batch in store.follow(after, stop):
                found.append(list(batch))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert not thread.is_alive(), "a follower that was stopped goes on"


def until(found: list[Any], number: int) -> list[Committed]:
    """Wait for that many changes. Return them all."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        changes = [each for batch in list(found) if isinstance(batch, list) for each in batch]
        if len(changes) >= number:
            return changes
        time.sleep(0.002)
    raise AssertionError(f"after {PATIENCE} s a follower has {found!r}")


def compacted(store: Store, after: int) -> bool:
    try:
        store.read(after)
    except Compacted:
        return True
    return False


@cases.add
def a_change_is_read_as_it_was_committed(rig: Rig) -> None:
    store = rig.open()
    whole = put(
        node(),
        instance(1, deep={"é": [1, None, "x"]}),
        declaration(),
        forgotten(),
        kept_secret(),
        session(),
        base=FIRST_INDEX,
        transitions=(transition(), transition("reason", reason="ä", before="a", after="b")),
    )
    (index,) = commit(store, whole)
    wanted = [Committed(index, as_logged(whole))]
    assert logged(store) == wanted
    assert logged(rig.open()) == wanted
    assert logged(rig.restarted()) == wanted


@cases.add
def what_goes_is_read_with_its_key(rig: Rig) -> None:
    all_of_it = (node(), instance(), declaration(), forgotten(), kept_secret(), session())
    commit(rig.open(), put(*all_of_it), drop(*all_of_it))
    gone = rig.restarted().read(FIRST_INDEX)[-1].change
    assert (gone.nodes[0].after, gone.instances[0].after) == (None, None)
    assert gone.nodes[0].some.id == node().id
    assert gone.instances[0].some.key == instance().key
    assert gone.declarations[0].some.key == declaration().key
    assert gone.forgotten[0].some.key == forgotten().key
    assert gone.kept_secrets[0].some.node_id == kept_secret().node_id
    assert gone.sessions[0].some.key == session().key


@cases.add
def changes_of_one_batch_are_read_at_their_indexes(rig: Rig) -> None:
    store = rig.open()
    made = [put(node(number)) for number in range(5)]
    found = list(zip(commit(store, *made), (each.id for each in made), strict=True))
    for reader in (store, rig.open()):
        assert [(each.index, each.change.id) for each in reader.read(FIRST_INDEX)] == found


@cases.for_each(0, 1, 2, 3, 4, 5)
def reading_begins_after_any_index(rig: Rig, start: int) -> None:
    store = rig.open()
    made = [put(node(number)) for number in range(5)]
    found = [FIRST_INDEX, *commit(store, *made)]
    for reader in rig.readers(store):
        assert ids(logged(reader, found[start])) == [each.id for each in made[start:]]


@cases.for_each(1, 2, 3, 256)
def reading_gives_no_more_than_asked_for(rig: Rig, limit: int) -> None:
    store = rig.open()
    made = [put(node(number)) for number in range(7)]
    commit(store, *made)
    for reader in (store, rig.open()):
        found: list[str] = []
        after = FIRST_INDEX
        while batch := reader.read(after, limit):
            assert len(batch) <= limit
            found += [each.change.id for each in batch]
            after = batch[-1].index
        assert found == [each.id for each in made]


@cases.add
def at_the_end_there_is_nothing_and_beyond_it_an_error(rig: Rig) -> None:
    store = rig.open()
    assert not store.read(FIRST_INDEX)
    (index,) = commit(store, put(node()))
    for reader in (store, rig.open()):
        assert not reader.read(index)
        assert compacted(reader, index + 10)


@cases.for_each(False, True)
def a_follower_gets_every_change_once_in_order(rig: Rig, from_middle: bool) -> None:
    store, other = rig.open(), rig.open()
    made = [put(node(number)) for number in range(20)]
    found = commit(store, *made)
    start = 10 if from_middle else 0
    with following(rig.open(), found[start - 1] if from_middle else FIRST_INDEX) as batches:
        for number in range(20, 40):
            made.append(put(node(number)))
            commit(store if number % 2 else other, made[-1])
        got = until(batches, len(made) - start)
    assert ids(got) == [each.id for each in made[start:]]
    assert [each.index for each in got] == sorted({each.index for each in got})


@cases.add
def a_follower_of_two_busy_writers_misses_nothing(rig: Rig) -> None:
    writers = [rig.open(), rig.open()]
    with following(rig.open(), FIRST_INDEX) as batches:

        def write(which: int) -> None:
            for number in range(40):
                commit(writers[which], put(node(1_000 * which + number)))

        run([lambda: write(0), lambda: write(1)])
        got = until(batches, 80)
    assert len(set(ids(got))) == 80
    assert [each.index for each in got] == [each.index for each in rig.open().read(FIRST_INDEX)]


@cases.add
def batches_of_a_follower_are_bounded(rig: Rig) -> None:
    store = rig.open()
    commit(store, *(put(node(number)) for number in range(600)))
    for reader in (store, rig.open()):
        with following(reader, FIRST_INDEX) as batches:
            assert len(until(batches, 600)) == 600
        assert max(map(len, batches)) <= 256


@cases.add
def a_follower_ends_when_it_is_stopped(rig: Rig) -> None:
    with following(rig.open(), FIRST_INDEX) as batches:
        pass
    assert not batches


@cases.add
def waiting_ends_in_time_without_a_change(rig: Rig) -> None:
    store = rig.open()
    begun = time.monotonic()
    assert store.wait(FIRST_INDEX, 0.05) is False
    assert 0.04 < time.monotonic() - begun < PATIENCE


@cases.add
def waiting_for_what_is_there_does_not_wait(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    (index,) = commit(store, put(node()))
    assert store.wait(index - 1, 0.0)
    assert other.wait(index - 1, PATIENCE)
    assert not store.wait(index, 0.0)


@cases.add
def an_interrupted_wait_has_seen_no_change(rig: Rig) -> None:
    store = rig.open()
    found: list[bool] = []
    waiter = threading.Thread(target=lambda: found.append(store.wait(FIRST_INDEX, 0.2)))
    waiter.start()
    store.interrupt()
    waiter.join(PATIENCE)
    assert found == [False]
    (index,) = commit(store, put(node()))
    assert store.wait(index - 1, 0.0), "later waits are as before"


@cases.for_each("own", "foreign")
def waiting_ends_with_a_change(rig: Rig, whose: str) -> None:
    store, other = rig.open(), rig.open()
    (index,) = commit(store, put(node()))
    found: list[bool] = []
    waiter = threading.Thread(target=lambda: found.append(store.wait(index, PATIENCE)))
    waiter.start()
    commit(store if whose == "own" else other, put(node(2)))
    waiter.join(PATIENCE)
    assert found == [True]
    assert len(store.read(index)) == 1


@cases.for_each("age", "size")
def what_leaves_the_log_is_reported_as_compacted(rig: Rig, why: str) -> None:
    limits: dict[str, Any] = {"log_keep": "10m"} if why == "age" else {"log_max_size": 2**20}
    store, other = rig.open(**limits), rig.open(**limits)
    (first,) = commit(store, put(node()))
    for number in range(40):
        later = TIME + (number * HOUR if why == "age" else 0)
        text = "x" * (100 if why == "age" else 50_000)
        commit(store, put(instance(1, f"p{number}", text=text), time=later))
    assert compacted(other, first)
    assert compacted(rig.open(**limits), FIRST_INDEX)
    with following(other, first) as batches:
        deadline = time.monotonic() + PATIENCE
        while not batches and time.monotonic() < deadline:
            time.sleep(0.002)
    assert isinstance(batches[0], Compacted)
    index = other.load().index
    assert len(other.load().instances) == 40
    (last,) = commit(store, put(node(2)))
    assert [each.index for each in other.read(index)] == [last]


@cases.add
def what_is_recent_stays_in_the_log(rig: Rig) -> None:
    store = rig.open()
    for number in range(60):
        commit(store, put(node(number), time=TIME + number * 9 * 10**9))
    assert len(rig.restarted().read(FIRST_INDEX)) == 60


@cases.for_each(1, 2, 3, 4, 5)
def the_log_leads_from_any_contents_to_those_of_now(rig: Rig, seed: int) -> None:
    """Apply the log to contents loaded between random changes of two writers, and compare."""
    random, stores = Random(seed), [rig.open(), rig.open()]
    middle: dict[Any, Any] = {}
    index = after = FIRST_INDEX
    for number in range(60):
        held = _by_key(values(stores[0].load()))
        (index,) = commit(random.choice(stores), _random_change(random, held, index))
        if number == 20:
            middle, after = _by_key(values(stores[1].load())), index
    state = dict(middle)
    for each in rig.open().read(after):
        _apply(state, each.change)
    assert state == _by_key(values(rig.restarted().load()))


def _by_key(found: list[Any]) -> dict[Any, Any]:
    return {_key(each): each for each in found}


def _key(value: Any) -> Any:
    kind = type(value).__name__
    return kind, getattr(value, "key", None) or getattr(value, "id", None) or value.node_id


def _random_change(random: Random, held: dict[Any, Any], base: int) -> Change:
    number = random.randrange(4)
    value: Any = random.choice(
        [
            node(number, name=random.choice("ab")),
            declaration(random.choice("ab"), node=random.randrange(3)),
            kept_secret(number + 50),
            session(number),
        ]
    )
    there = held.get(_key(value))
    if there is None:
        return put(value, base=base)
    return drop(there, base=base) if random.random() < 0.4 else swap(there, value, base)


def _apply(state: dict[Any, Any], change: Change) -> None:
    groups = (
        change.nodes,
        change.instances,
        change.declarations,
        change.forgotten,
        change.kept_secrets,
        change.sessions,
    )
    for step in (step for group in groups for step in group):
        if step.after is None:
            del state[_key(step.some)]
        else:
            state[_key(step.some)] = step.after


@cases.add
def a_wait_for_others_ends_with_what_they_write(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    (own,) = commit(store, put(node(1)))
    # After a change of its own the store may wait until the timeout, but not longer.
    assert store.wait_for_others(FIRST_INDEX, 0.3)
    (theirs,) = commit(other, put(node(2)))
    began = time.monotonic()
    assert store.wait_for_others(own, PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2
    assert not store.wait_for_others(theirs, 0.0)
