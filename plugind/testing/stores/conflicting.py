"""Cases: a change whose plan is outdated is not committed, and every other change is."""

from __future__ import annotations

import threading
from typing import Any

from plugind.model import Change, HistoryQuery
from plugind.store.base import FIRST_INDEX, Conflict, OutcomeUnknown, Store
from plugind.testing.stores.commits import values
from plugind.testing.stores.making import (
    TIME,
    commit,
    declaration,
    drop,
    forgotten,
    instance,
    kept_secret,
    last_index,
    node,
    node_id,
    put,
    session,
    swap,
    transition,
)
from plugind.testing.stores.rig import Cases, Rig

cases = Cases()

ONE, EBS = f"node/{node_id(1)}", "plugin/sample/ebs"

OUTDATED: dict[str, tuple[Change, Change, str]] = {
    "node": (swap(node(), node(name="x")), swap(node(), node(name="y")), ONE),
    "node gone": (drop(node(), instance()), swap(node(), node(name="y")), ONE),
    "instance of the node": (put(instance(1, "new")), swap(node(), node(name="y")), ONE),
    "forgotten mark": (put(forgotten()), put(instance(1, "new")), ONE),
    "kept secret": (put(kept_secret(5)), put(node(5)), f"node/{node_id(5)}"),
    "sessions": (put(session(1)), put(session(2)), "sessions"),
    "plugin that grew": (put(node(2), instance(2)), drop(instance()), EBS),
    "declarations": (put(declaration("a")), put(declaration("b")), "declarations"),
    "declared plugin": (put(node(2), instance(2, "a")), put(declaration("a")), "plugin/sample/a"),
}
"""By name: a change that is committed, a change that it makes outdated, and the scope of the
conflict."""


def at(change: Change, base: int) -> Change:
    return change.changed(base=base)


@cases.for_each(*OUTDATED)
def an_outdated_plan_conflicts_and_does_nothing(rig: Rig, what: str) -> None:
    moves, outdated, scope = OUTDATED[what]
    store, other = rig.open(), rig.open()
    (base,) = commit(store, put(node(), instance()))
    commit(other, at(moves, base))
    before = store.load()
    late = at(outdated, base).changed(transitions=(transition(),))
    assert list(store.commit([late])) == [Conflict(scope)]
    assert store.load() == before
    assert late.id not in {each.change.id for each in store.read(FIRST_INDEX)}
    assert not store.history(HistoryQuery())


@cases.for_each(*OUTDATED)
def a_plan_that_is_made_again_succeeds(rig: Rig, what: str) -> None:
    moves, outdated, _ = OUTDATED[what]
    store, other = rig.open(), rig.open()
    (base,) = commit(store, put(node(), instance()))
    (moved,) = commit(other, at(moves, base))
    if "gone" not in what:
        assert commit(store, at(outdated, moved)) > [moved]


@cases.add
def scopes_are_remembered_over_a_restart(rig: Rig) -> None:
    (base,) = commit(rig.open(), put(node()))
    commit(rig.restarted(), swap(node(), node(name="x"), base))
    assert list(rig.restarted().commit([swap(node(), node(name="y"), base)])) == [Conflict(ONE)]


@cases.for_each("other node", "same plugin appears twice", "only reads")
def what_does_not_touch_does_not_conflict(rig: Rig, what: str) -> None:
    store, other = rig.open(), rig.open()
    (base,) = commit(
        store,
        put(node(1), instance(1, "b")),
    )
    first, second = {
        "other node": (put(node(2), base=base), swap(node(1), node(1, name="x"), base)),
        "same plugin appears twice": (
            put(node(2), instance(2), base=base),
            put(node(3), instance(3), base=base),
        ),
        "only reads": (
            put(node(2), base=base, reads=frozenset({ONE})),
            swap(node(1), node(1, name="x"), base),
        ),
    }[what]
    commit(other, first)
    commit(store, second)


@cases.add
def a_change_may_rest_on_others_of_its_batch(rig: Rig) -> None:
    store = rig.open()
    (base,) = commit(store, put(node()))
    one, two, three = node(name="a"), node(name="b"), node(name="c")
    commit(store, swap(node(), one, base), swap(one, two, base), swap(two, three, base))
    assert values(store.load()) == [three]


@cases.add
def a_batch_planned_step_by_step_counts_from_its_first_base(rig: Rig) -> None:
    """Let later changes of a batch name indexes that another writer has taken in the meantime."""
    store, other = rig.open(), rig.open()
    (base,) = commit(
        store,
        put(node(1)),
    )
    commit(other, put(node(2), base=base))
    batch = [put(node(3), base=base), swap(node(2), node(2, name="x"), base + 1)]
    first, second = store.commit(batch)
    assert isinstance(first, int)
    assert second == Conflict(f"node/{node_id(2)}")


@cases.add
def what_rests_on_a_failed_change_of_its_batch_fails_too(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    (base,) = commit(store, put(node(1)))
    commit(other, put(declaration("a"), base=base))
    first = put(declaration("b"), node(2), base=base)
    second = put(instance(2), base=base)
    third = put(node(3), base=base)
    found = store.commit([first, second, third])
    assert found[0] == Conflict("declarations")
    assert found[1] == Conflict(f"node/{node_id(2)}")
    assert isinstance(found[2], int)
    assert {each.id for each in store.load().nodes} == {node_id(1), node_id(3)}


@cases.add
def a_conflict_takes_no_index_and_spoils_no_neighbour(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    (base,) = commit(store, put(node(1)))
    commit(other, swap(node(1), node(1, name="x"), base))
    batch = [
        put(node(2), base=base),
        swap(node(1), node(1, name="y"), base),
        put(node(3), base=base),
    ]
    first, conflict, third = store.commit(batch)
    assert conflict == Conflict(ONE)
    assert isinstance(first, int)
    assert isinstance(third, int)
    assert first < third
    ids = [each.change.id for each in store.read(FIRST_INDEX)]
    assert ids[-2:] == [batch[0].id, batch[2].id]


@cases.add
def a_base_before_the_log_conflicts_unless_nothing_is_read(rig: Rig) -> None:
    store = rig.open()
    (base,) = commit(store, put(node(1)))
    for number in range(2, 8):
        hours = number * 3600 * 10**9
        commit(store, put(node(number), time=TIME + hours))
    rig.restarted()
    store = rig.open()
    (found,) = store.commit([swap(node(1), node(1, name="x"), base)])
    assert found == Conflict(ONE)
    commit(store, put(base=base))


@cases.add
def of_two_writers_none_loses_what_the_other_wrote(rig: Rig) -> None:
    """Have two writers increment a counter in one node, and plan again after each conflict."""
    commit(rig.open(), put(node(meta={"n": "0"})))
    stores, failures = [rig.open(), rig.open()], []

    def count(store: Store) -> None:
        try:
            done = 0
            while done < 15:
                contents = store.load()
                (held,) = contents.nodes
                more = held.changed(meta={"n": str(int(held.meta["n"]) + 1)})
                (found,) = store.commit([swap(held, more, contents.index)])
                done += isinstance(found, int)
        except Exception as error:
            failures.append(error)

    run([lambda store=store: count(store) for store in stores])
    assert not failures
    (held,) = rig.open().load().nodes
    assert held.meta == {"n": "30"}


def run(tasks: list[Any]) -> None:
    """Run tasks in threads, and wait for all of them."""
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@cases.add
def two_writers_get_indexes_of_their_own(rig: Rig) -> None:
    stores = [rig.open(), rig.open()]
    found: list[tuple[int, str]] = []

    def write(store: Store, start: int) -> None:
        for number in range(start, start + 25):
            made = put(node(number))
            (index,) = commit(store, made)
            found.append((index, made.id))

    run([lambda: write(stores[0], 0), lambda: write(stores[1], 100)])
    assert len({index for index, _ in found}) == 50
    logged = [(each.index, each.change.id) for each in rig.open().read(FIRST_INDEX)]
    assert logged == sorted(found)


@cases.for_each(True, False)
def of_an_unknown_outcome_the_log_says_what_it_was(rig: Rig, is_done: bool) -> None:
    store = rig.open()
    (before,) = commit(store, put(node(1)))
    made = put(node(2), base=before)
    (outcome,) = rig.unsure(store, is_done=is_done).commit([made])
    assert isinstance(outcome, OutcomeUnknown)
    other = rig.open()
    commit(other, put(node(3), base=before))
    found = [each.index for each in other.read(before) if each.change.id == made.id]
    assert len(found) == is_done
    assert len(other.load().nodes) == 2 + is_done
    assert last_index(other) == other.load().index
