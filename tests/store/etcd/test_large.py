"""Changes that are too large for one transaction of etcd."""

from __future__ import annotations

import random

from plugind.model import DOWN, HistoryQuery, Step
from plugind.store.base import FIRST_INDEX
from plugind.store.coding import as_logged, encode
from plugind.testing.stores import Rig
from plugind.testing.stores.commits import values
from plugind.testing.stores.making import (
    change,
    commit,
    drop,
    instance,
    node,
    put,
    swap,
    transition,
)


def noise(size: int) -> str:
    """Return a text that compresses poorly."""
    return random.Random(size).randbytes(size // 2).hex()


def test_a_change_larger_than_a_request_is_committed_and_followed(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    large = put(node(), *(instance(1, f"p{n}", text=noise(40_000)) for n in range(100)))
    assert len(encode(large)) > 3 * 2**20
    (index,) = commit(store, large)
    (found,) = other.read(FIRST_INDEX)
    assert found.index == index
    assert as_logged(found.change) == as_logged(large.changed(base=found.change.base))
    assert sorted(values(other.load()), key=repr) == sorted(values(store.load()), key=repr)
    assert len(rig.restarted().load().instances) == 100


def test_parts_of_a_large_value_leave_with_it(rig: Rig) -> None:
    store = rig.open()
    large = [instance(1, f"p{n}", text=noise(40_000)) for n in range(100)]
    (index,) = commit(store, put(node(), *large))
    opened = store._opened  # type: ignore[attr-defined]
    asides = opened._keys.asides + b"doc/"
    assert list(opened._reading.every(asides))
    (index,) = commit(store, drop(*large, base=index))
    assert not list(opened._reading.every(asides))
    assert values(store.load()) == [node()]


def test_the_most_instances_that_a_node_may_have_are_one_change(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    many = [instance(1, f"plugin-{n:05d}") for n in range(4_096)]
    noted = tuple(transition(plugin=f"plugin-{n:05d}") for n in range(4_096))
    (index,) = commit(store, put(node(), *many, transitions=noted))
    assert len(other.load().instances) == 4_096
    assert len(other.history(HistoryQuery(limit=1_000))) == 1_000
    (index,) = commit(store, swap(many[7], instance(1, "plugin-00007", healthy=False), base=index))
    assert [each.index for each in other.read(index - 1)] == [index]
    (last,) = commit(store, drop(*many, base=index))
    assert last > index
    assert values(rig.restarted().load()) == [node()]


def test_a_batch_of_hundreds_of_nodes_is_few_transactions(rig: Rig) -> None:
    store = rig.open()
    revision = store._opened._reading.head()[1]  # type: ignore[attr-defined]
    found = commit(store, *(put(node(n), instance(n)) for n in range(300)))
    assert found == sorted(set(found))
    assert store._opened._reading.head()[1] - revision < 20  # type: ignore[attr-defined]
    assert len(store.load().nodes) == 300


def test_many_nodes_are_written_by_one_change(rig: Rig) -> None:
    store = rig.open()
    nodes = [node(n, meta={"text": noise(2_000)}) for n in range(1_500)]
    base = FIRST_INDEX
    for start in range(0, 1_500, 100):
        (base,) = commit(store, put(*nodes[start : start + 100], base=base))
    (index,) = commit(
        store, change([Step(each, each.changed(status=DOWN)) for each in nodes], base=base)
    )
    found = rig.restarted().load()
    assert found.index == index
    assert {each.status for each in found.nodes} == {DOWN}
