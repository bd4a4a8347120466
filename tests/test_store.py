"""The guarantees of every store, tested on every installed store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugind.errors import StoreError
from plugind.model import (
    NODES,
    Change,
    Declaration,
    Fingerprint,
    Instance,
    InstanceKey,
    Node,
    PluginKey,
    Stamp,
    Step,
    node_of,
    plugins_of,
)
from plugind.store.base import FIRST_INDEX, Store
from plugind.types.registry import load_registry

Open = Callable[[], Store]

NODE = Node(
    "b0af9003-b888-13e3-5e2c-e67cd552bff8",
    "vm é",
    "dc2",
    "1.0",
    "10.0.0.1",
    {"os.name": "debian"},
    {"rack": "7"},
    "abc",
    "ready",
    5,
    2,
)
KEY = InstanceKey(NODE.id, "sample", "ebs0", "node")
INSTANCE = Instance(KEY, Fingerprint(False, "böse", 7, "a", {"Info": {"N": 1}, "L": []}), "d", 9)
PLUGIN = KEY.plugin
DECLARATION = Declaration(PluginKey("sample", "declared"), {"node": 3})
TOUCHED = frozenset({PLUGIN.resource, plugins_of("sample"), node_of(NODE.id), NODES})
ARRIVAL = Change(
    100,
    (Step(None, NODE),),
    (Step(None, INSTANCE),),
    (Step(None, DECLARATION),),
    TOUCHED | {DECLARATION.key.resource},
)


@pytest.fixture(params=["sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Yield a function that opens the test's store, closing it first if it is open."""
    kind = load_registry().stores[request.param]
    opened: list[Store] = []

    def close() -> None:
        while opened:
            opened.pop().close()

    def open_() -> Store:
        close()
        opened.append(kind(kind.settings_schema().load({}), tmp_path))
        return opened[-1]

    yield open_
    close()


def test_a_new_store_is_empty_at_its_first_index(open_store: Open) -> None:
    contents = open_store().load()
    assert contents.index == FIRST_INDEX
    assert not any((contents.nodes, contents.instances, contents.declarations, contents.stamps))


def test_committed_changes_are_there_after_reopening(open_store: Open) -> None:
    store = open_store()
    identity = store.identity
    (index,) = store.commit([ARRIVAL])
    assert index > FIRST_INDEX
    for reopen in (False, True):
        store = open_store() if reopen else store
        contents = store.load()
        assert store.identity == identity
        assert contents.index == index
        assert contents.nodes == [NODE]
        assert contents.instances == [INSTANCE]
        assert contents.declarations == [DECLARATION]
        assert contents.stamps == dict.fromkeys(ARRIVAL.touched, Stamp(index, index, 100, 100))


def test_changes_of_one_commit_get_their_own_indexes(open_store: Open) -> None:
    store = open_store()
    later = Change(200, touched=frozenset({PLUGIN.resource}))
    first, second = store.commit([ARRIVAL, later])
    assert FIRST_INDEX < first < second
    assert store.load().stamps[PLUGIN.resource] == Stamp(first, second, 100, 200)
    assert store.load().index == second


def test_a_plugin_that_comes_back_is_created_again(open_store: Open) -> None:
    store = open_store()
    store.commit([ARRIVAL])
    gone = Change(200, (), (Step(INSTANCE, None),), (), TOUCHED, frozenset({PLUGIN.resource}))
    (left,) = store.commit([gone])
    contents = store.load()
    assert contents.instances == []
    assert PLUGIN.resource not in contents.stamps
    assert contents.stamps[plugins_of("sample")].modify_index == left
    (back,) = store.commit([Change(300, (), (Step(None, INSTANCE),), (), TOUCHED)])
    assert store.load().stamps[PLUGIN.resource] == Stamp(back, back, 300, 300)


def test_indexes_never_go_back_when_everything_left(open_store: Open) -> None:
    store = open_store()
    store.commit([ARRIVAL])
    everything = TOUCHED | {DECLARATION.key.resource}
    gone = everything - {NODES, plugins_of("sample")}
    (last,) = store.commit([Change(1, *_back(ARRIVAL), everything, gone)])
    contents = open_store().load()
    assert contents.index == last
    assert set(contents.stamps) == {NODES, plugins_of("sample")}
    (next_,) = open_store().commit([ARRIVAL])
    assert next_ > last


def _back(change: Change) -> tuple[object, ...]:
    back = change.back()
    return back.nodes, back.instances, back.declarations


def test_a_second_server_is_kept_out(tmp_path: Path) -> None:
    kind = load_registry().stores["sqlite"]
    first = kind(None, tmp_path)
    with pytest.raises(StoreError, match="another plugind server"):
        kind(None, tmp_path)
    first.close()
    kind(None, tmp_path).close()


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    kind = load_registry().stores["sqlite"]
    kind(None, tmp_path).close()
    with sqlite3.connect(tmp_path / "plugind.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="newer plugind"):
        kind(None, tmp_path)


def test_a_file_that_is_no_database_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "plugind.db").write_text("not a database at all, but long enough to be looked at")
    with pytest.raises(StoreError, match=r"plugind\.db") as caught:
        load_registry().stores["sqlite"](None, tmp_path)
    assert "\n" not in str(caught.value)


def test_the_file_is_synchronous_and_write_ahead(tmp_path: Path) -> None:
    store = load_registry().stores["sqlite"](None, tmp_path)
    store.commit([ARRIVAL])
    assert (tmp_path / "plugind.db-wal").stat().st_size > 0
    store.close()


@pytest.mark.parametrize("number", [1, 15, 16, 17, 255, 256, 257, 600])
def test_changes_of_any_size_are_written_and_removed_as_a_whole(
    open_store: Open, number: int
) -> None:
    store = open_store()
    keys = [InstanceKey(NODE.id, "sample", f"p{each}", "node") for each in range(number)]
    made = [Instance(key, Fingerprint(True, f"{key.id} \0", 1)) for key in keys]
    resources = frozenset(key.plugin.resource for key in keys)
    come = [Step(None, each) for each in made]
    store.commit([ARRIVAL, Change(1, (), tuple(come), touched=resources)])
    again = tuple(Step(each, each) for each in made)
    store.commit([Change(2, (), again, touched=resources)])
    found = open_store().load()
    assert {each.key: each for each in found.instances} == {
        each.key: each for each in [INSTANCE, *made]
    }
    assert {found.stamps[each] for each in resources} == {Stamp(3, 4, 1, 2)}
    gone = tuple(Step(each, None) for each in made)
    store = open_store()
    store.commit([Change(3, (), gone, touched=resources, removed=resources)])
    found = open_store().load()
    assert list(found.instances) == [INSTANCE]
    assert not resources & found.stamps.keys()


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["put", "drop", "touch"])), max_size=6
)
"""Changes, each to one of three plugins."""


@settings(max_examples=40, deadline=None)
@given(STEPS, STEPS)
def test_changes_together_come_to_what_they_come_to_one_by_one(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[tuple[int, str]],
    second: list[tuple[int, str]],
) -> None:
    """Check that results do not depend on which changes share a commit.

    The results are the last value of each resource, and when the resource was created.
    """
    contents = []
    for batches in ([first, second], [[each] for each in [*first, *second]]):
        store = load_registry().stores["sqlite"](None, tmp_path_factory.mktemp("store"))
        try:
            store.commit([ARRIVAL])
            at = 100
            for batch in batches:
                changes = []
                for which, what in batch:
                    at += 1
                    changes.append(_one(at, which, what))
                store.commit(changes)
            contents.append(replace(store.load(), beats={}))
        finally:
            store.close()
    assert contents[0] == contents[1]


def _one(at: int, which: int, what: str) -> Change:
    key = InstanceKey(NODE.id, "sample", f"p{which}", "node")
    one = Instance(key, Fingerprint(True, f"at {at}", at), str(at))
    touched = frozenset({key.plugin.resource, NODES})
    if what == "touch":
        renewed = NODE.changed(version=str(at))
        return Change(at, (Step(NODE, renewed),), touched=frozenset({node_of(NODE.id), NODES}))
    if what == "put":
        return Change(at, instances=(Step(None, one),), touched=touched)
    removed = frozenset({key.plugin.resource})
    return Change(at, instances=(Step(one, None),), touched=touched, removed=removed)
