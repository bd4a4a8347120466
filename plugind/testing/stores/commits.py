"""Cases: committed values are loaded unchanged, with their indexes and stamps."""

from __future__ import annotations

from typing import Any

from plugind.model import NODES, Stamp, node_of, plugins_of
from plugind.store.base import FIRST_INDEX, Contents
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
)
from plugind.testing.stores.rig import Cases, Rig

cases = Cases()

KINDS = {
    "node": node(2),
    "instance": instance(1),
    "declaration": declaration(),
    "forgotten": forgotten(),
    "kept_secret": kept_secret(),
    "session": session(),
}
TEXTS = (
    "",
    "é ä ß",
    "\0 and \x1f",
    "'; DROP TABLE nodes; --",
    '{"a": "b"}',
    "a\nb\r\nc",
    "💾 \u202e \u0301",
    "x" * 5_000,
)


def values(contents: Contents) -> list[Any]:
    groups = (
        contents.nodes,
        contents.instances,
        contents.declarations,
        contents.forgotten,
        contents.kept_secrets,
        contents.sessions,
    )
    return [each for group in groups for each in group]


@cases.add
def a_new_store_is_empty_at_the_first_index(rig: Rig) -> None:
    contents = rig.open().load()
    assert contents.index == FIRST_INDEX
    assert not values(contents)
    assert not contents.stamps
    assert not contents.beats


@cases.add
def identity_stays_and_is_the_same_for_all(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    assert store.identity == other.identity
    identity = store.identity
    assert rig.restarted().identity == identity


@cases.for_each(*KINDS)
def a_value_is_there_after_a_restart(rig: Rig, kind: str) -> None:
    store = rig.open()
    commit(store, put(node()), put(KINDS[kind]))
    assert KINDS[kind] in values(store.load())
    assert KINDS[kind] in values(rig.restarted().load())


@cases.for_each(*KINDS)
def a_value_that_goes_is_gone_after_a_restart(rig: Rig, kind: str) -> None:
    store = rig.open()
    commit(store, put(node()), put(KINDS[kind]), drop(KINDS[kind]))
    assert values(store.load()) == [node()]
    assert values(rig.restarted().load()) == [node()]


@cases.add
def what_one_commits_another_loads(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    (index,) = commit(store, put(node(), instance()))
    assert other.load().index == index
    assert values(other.load()) == [node(), instance()]


@cases.for_each(*TEXTS)
def texts_come_back_as_they_were(rig: Rig, text: str) -> None:
    wanted = node(name=text, meta={"k": text}, attributes={text or "k": "v"})
    held = instance(1, text=text, deep={"a": [text, {"b": text}]})
    commit(rig.open(), put(wanted, held))
    assert values(rig.restarted().load()) == [wanted, held]


@cases.for_each(0, -1, 2**53 + 1, 2**63 - 1, 1.5, True, None)
def numbers_come_back_as_they_were(rig: Rig, number: Any) -> None:
    commit(rig.open(), put(node(), instance(1, value=number)))
    (found,) = rig.restarted().load().instances
    assert found.fingerprint.details == {"value": number}
    assert type(found.fingerprint.details["value"]) is type(number)


@cases.for_each(1, 15, 16, 17, 255, 257, 600)
def a_change_of_any_size_is_written_whole(rig: Rig, number: int) -> None:
    made = [instance(1, f"p{each}") for each in range(number)]
    store = rig.open()
    (index,) = commit(store, put(node(), *made))
    assert sorted(each.key for each in rig.restarted().load().instances) == sorted(
        each.key for each in made
    )
    store = rig.open()
    (last,) = commit(store, drop(*made, base=index))
    assert last > index
    assert values(store.load()) == [node()]


@cases.add
def indexes_of_a_batch_rise_in_its_order(rig: Rig) -> None:
    store = rig.open()
    found = commit(store, *(put(node(number)) for number in range(300)))
    assert found == sorted(set(found))
    assert found[0] > FIRST_INDEX
    assert store.load().index == found[-1]


@cases.add
def indexes_go_on_after_a_restart_even_when_all_is_gone(rig: Rig) -> None:
    (index,) = commit(rig.open(), put(node()))
    (gone,) = commit(rig.restarted(), drop(node(), base=index))
    (back,) = commit(rig.restarted(), put(node(), base=gone))
    assert index < gone < back


@cases.add
def no_changes_take_no_index(rig: Rig) -> None:
    store = rig.open()
    (index,) = commit(store, put(node()))
    assert not list(store.commit([]))
    assert store.load().index == index


@cases.add
def stamps_say_when_a_resource_came_and_changed(rig: Rig) -> None:
    store = rig.open()
    first, second = commit(
        store, put(node(), instance()), swap(node(), node(name="x"), time=TIME + 9)
    )
    for contents in (store.load(), rig.restarted().load()):
        assert contents.stamps == {
            node_of(node().id): Stamp(first, second, TIME, TIME + 9),
            NODES: Stamp(first, second, TIME, TIME + 9),
            "plugin/sample/ebs": Stamp(first, first, TIME, TIME),
            plugins_of("sample"): Stamp(first, first, TIME, TIME),
        }


@cases.add
def what_is_removed_has_no_stamp_and_comes_back_anew(rig: Rig) -> None:
    store = rig.open()
    index, gone = commit(store, put(node(), instance()), drop(instance(), time=TIME + 1))
    stamps = store.load().stamps
    assert "plugin/sample/ebs" not in stamps
    assert stamps[plugins_of("sample")] == Stamp(index, gone, TIME, TIME + 1)
    (back,) = commit(store, put(instance(), base=gone, time=TIME + 2))
    assert store.load().stamps["plugin/sample/ebs"] == Stamp(back, back, TIME + 2, TIME + 2)


@cases.add
def what_another_created_is_not_created_again(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    (first,) = commit(store, put(node(1), instance(1)))
    (second,) = commit(other, put(node(2), instance(2), time=TIME + 1))
    stamp = store.load().stamps["plugin/sample/ebs"]
    assert stamp == Stamp(first, second, TIME, TIME + 1)
