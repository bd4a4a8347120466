"""Cases: checks, backups and exports, and stores that are replaced by a backup or an export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from plugind.errors import Compacted, StoreError
from plugind.model import NODES, Beat, HistoryQuery, Run, node_of
from plugind.store.base import Contents, Restored, Store
from plugind.testing.stores.commits import values
from plugind.testing.stores.making import (
    TIME,
    commit,
    declaration,
    forgotten,
    instance,
    kept_secret,
    node,
    node_id,
    put,
    session,
    transition,
)
from plugind.testing.stores.rig import Cases, Rig

cases = Cases()

WAYS = ("backup", "export")
LISTS = [NODES, "plugins/sample"]


def fill(rig: Rig) -> Store:
    """Return an open store with at least one value of every kind in it, except a session."""
    store = rig.open()
    commit(
        store,
        put(node(1), node(2), instance(1), transitions=(transition(),)),
        put(declaration(), forgotten(), transitions=(transition(after="é"),)),
        put(kept_secret()),
    )
    store.beat({node_id(1): Beat(TIME, 5)})
    store.mark("run", TIME)
    return store


def write(rig: Rig, way: str, file: Path) -> None:
    if way == "backup":
        rig.kind.backup(rig.settings(), rig.data_dir, file)
    else:
        rig.kind.export(rig.settings(), rig.data_dir, file)


def put_back(rig: Rig, way: str, file: Path) -> Restored:
    """Close the rig's store, and replace it by the copy in ``file``."""
    rig.close()
    if way == "backup":
        return rig.kind.restore(rig.settings(), rig.data_dir, file, LISTS)
    return rig.kind.import_(rig.settings(), rig.data_dir, file, LISTS)


@cases.add
def its_size_is_what_it_takes_or_unknown(rig: Rig) -> None:
    size = fill(rig).size
    assert size is None or size > 0


def same(one: Contents, other: Contents) -> bool:
    def key(value: object) -> str:
        return repr(value)

    return sorted(values(one), key=key) == sorted(values(other), key=key)


def refusal(task: Callable[[], object]) -> str:
    """Return the text of the error that a task must raise."""
    try:
        task()
    except StoreError as error:
        text = str(error)
    else:
        raise AssertionError("it was not refused")
    assert "\n" not in text
    return text


@cases.add
def a_check_counts_what_there_is(rig: Rig) -> None:
    index = fill(rig).load().index
    found = rig.kind.check(rig.settings(), rig.data_dir)
    assert (found.index, found.nodes, found.instances, found.declarations) == (index, 2, 1, 1)
    rig.close()
    assert rig.kind.check(rig.settings(), rig.data_dir) == found


@cases.for_each(*WAYS)
def a_copy_has_everything(rig: Rig, way: str) -> None:
    contents = fill(rig).load()
    file = rig.data_dir / "copy"
    write(rig, way, file)
    other = rig.elsewhere("other")
    with other:
        put_back(other, way, file)
        store = other.open()
        found = store.load()
        assert same(found, contents)
        assert found.beats == contents.beats
        assert list(found.runs) == list(contents.runs) == [Run("run", TIME, TIME)]
        history = [each.transition for each in rig.open().history(HistoryQuery())]
        assert [each.transition for each in store.history(HistoryQuery())] == history
        commit(store, put(node(3), base=found.index, transitions=(transition(after="new"),)))
        assert store.history(HistoryQuery())[0].transition.after == "new"


@cases.for_each(*WAYS)
def a_copy_opens_no_session_again(rig: Rig, way: str) -> None:
    commit(fill(rig), put(session()))  # the session may have ended after the copy was made
    file = rig.data_dir / "copy"
    write(rig, way, file)
    put_back(rig, way, file)
    assert not rig.open().load().sessions


@cases.for_each(*WAYS)
def a_copy_overwrites_nothing(rig: Rig, way: str) -> None:
    fill(rig)
    file = rig.data_dir / "copy"
    file.write_text("mine")
    assert str(file) in refusal(lambda: write(rig, way, file))
    assert file.read_text() == "mine"


@cases.for_each(*WAYS)
def putting_back_begins_beyond_what_was_seen(rig: Rig, way: str) -> None:
    store = fill(rig)
    before, identity = store.load(), store.identity
    file = rig.data_dir / "copy"
    write(rig, way, file)
    seen = commit(store, *(put(node(number)) for number in range(10, 20)))[-1]
    done = put_back(rig, way, file)
    store = rig.open()
    found = store.load()
    assert done.summary.index == found.index > seen
    assert store.identity != identity
    assert same(found, before)
    resources = {node_of(node_id(1)), "plugin/sample/ebs", *LISTS}
    assert {found.stamps[each].modify_index for each in resources} == {found.index}
    for index in (seen, before.index):
        try:
            store.read(index)
        except Compacted:
            continue
        raise AssertionError("a follower of what was replaced noticed nothing")
    (index,) = commit(store, put(node(3), base=found.index))
    assert [each.index for each in store.read(found.index)] == [index]


@cases.for_each(*WAYS)
def a_store_in_use_is_not_replaced(rig: Rig, way: str) -> None:
    store = fill(rig)
    file = rig.data_dir / "copy"
    write(rig, way, file)
    replace = rig.kind.restore if way == "backup" else rig.kind.import_
    refusal(lambda: replace(rig.settings(), rig.data_dir, file, LISTS))
    assert store.load().nodes


def _cut(lines: list[bytes]) -> list[bytes]:
    return lines[:-1]


def _swapped(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


def _without_a_node(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if not line.startswith(b'{"node":')]


_DAMAGE: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "empty": lambda lines: [],
    "no JSON": lambda lines: [*lines[:3], b"x", *lines[3:]],
    "cut": _cut,
    "cut in a line": lambda lines: [*lines[:-1], lines[-1][:5]],
    "one line missing": lambda lines: [*lines[:2], *lines[3:]],
    "nodes missing": _without_a_node,
    "swapped": _swapped,
    "changed": lambda lines: [line.replace(b"vm1", b"vm9") for line in lines],
    "twice": lambda lines: [*lines, *lines],
    "unknown kind": lambda lines: [*lines[:1], b'{"gadget":1}', *lines[1:]],
    "wrong type": lambda lines: [line.replace(b'"vm1"', b"1") for line in lines],
    "another format": lambda lines: [line.replace(b'"format":1', b'"format":9') for line in lines],
}


@cases.for_each(*_DAMAGE)
def a_damaged_export_replaces_nothing(rig: Rig, damage: str) -> None:
    before = fill(rig).load()
    file = rig.data_dir / "copy"
    write(rig, "export", file)
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"".join(line + b"\n" for line in _DAMAGE[damage](lines)))
    assert str(file) in refusal(lambda: put_back(rig, "export", file))
    assert rig.open().load() == before


@cases.for_each(*WAYS)
def what_is_no_copy_replaces_nothing(rig: Rig, way: str) -> None:
    before = fill(rig).load()
    file = rig.data_dir / "copy"
    assert str(file) in refusal(lambda: put_back(rig, way, file))
    file.write_text("this is no copy of a store, but long enough to be looked at")
    assert str(file) in refusal(lambda: put_back(rig, way, file))
    assert rig.open().load() == before


@cases.add
def long_work_reports_its_progress(rig: Rig) -> None:
    fill(rig)
    file = rig.data_dir / "copy"
    seen: list[tuple[int, int]] = []
    rig.kind.export(rig.settings(), rig.data_dir, file, lambda *each: seen.append(each))
    assert seen[-1][0] == seen[-1][1] > 0
    rig.close()
    seen.clear()
    rig.kind.import_(rig.settings(), rig.data_dir, file, LISTS, lambda *each: seen.append(each))
    assert seen[-1][0] == seen[-1][1] > 0
