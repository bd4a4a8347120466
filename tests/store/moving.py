"""Moves contents between two kinds of store, and compares the results."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from plugind.model import NODES, Beat, Stamp, StoredTransition
from plugind.store import exporting
from plugind.store.base import Restored, Store, no_progress
from plugind.store.coding import to_json
from plugind.store.exporting import Item, Stamped
from plugind.testing.stores.making import (
    TIME,
    change,
    commit,
    declaration,
    drop,
    forgotten,
    instance,
    kept_secret,
    node,
    node_id,
    put,
    session,
    transition,
)

LISTS = [NODES, "plugins/sample", "plugins/other"]

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
numbers = st.integers(1, 3)
plugins = st.sampled_from(("ebs", "efs", "a b", "é"))
keys = texts.map("k{}".format)  # not the name of an argument of ``instance``
details = st.dictionaries(keys, st.one_of(st.none(), st.integers(-9, 9), texts), max_size=2)
runs = st.dictionaries(texts.filter(bool), st.tuples(st.integers(0, 99), st.integers(0, 99)))


def filled_with(store: Store, data: st.DataObject) -> None:
    """Commit changes to a store so that it has some of everything; its history need not be
    consistent."""
    there: dict[Any, Any] = {}
    for _ in range(data.draw(st.integers(1, 4))):
        number, name = data.draw(numbers), data.draw(plugins)
        there[number] = node(number, version=data.draw(texts), meta={"k": data.draw(texts)})
        one = instance(number, name, healthy=data.draw(st.booleans()), **data.draw(details))
        there[number, name] = one
        moved = [transition("healthy", name, number, after=data.draw(texts), time=TIME)]
        commit(store, put(there[number], one, transitions=tuple(moved)))
    more = [declaration(data.draw(plugins)), forgotten(data.draw(st.sampled_from([number])))]
    commit(store, put(*data.draw(st.lists(st.sampled_from(more), unique_by=type))))
    if data.draw(st.booleans()):
        commit(store, put(kept_secret(9), session()))
    if data.draw(st.booleans()):
        commit(store, change([], transitions=(transition("left", after=data.draw(texts)),)))
    if data.draw(st.booleans()):
        commit(store, put(node(4)))
        commit(store, drop(node(4)))
    store.beat({node_id(number): Beat(TIME + number, 5, "run")})
    for run, (start, end) in data.draw(runs).items():
        store.mark(run, TIME + start)
        store.mark(run, TIME + max(start, end))


def lines(file: Path) -> tuple[exporting.Head, list[Item]]:
    with exporting.reading(file) as export:
        return export.head, list(export.items(no_progress))


def unnumbered(items: Sequence[Item]) -> list[Item]:
    """Return the values of an export without the indexes and times of stamps, and with transitions
    numbered by their order alone."""
    found: list[Item] = []
    seq = 0
    for each in items:
        if isinstance(each, Stamped):
            found.append(Stamped(each.resource, Stamp(0, 0, 0, 0)))
        elif isinstance(each, StoredTransition):
            seq += 1
            found.append(each.changed(seq=seq))
        else:
            found.append(each)
    return found


@dataclass
class Place:
    """A store that can be opened."""

    kind: type[Store]
    settings: Any
    data_dir: Path

    def open(self) -> Store:
        return self.kind(self.settings, self.data_dir)

    def export(self, name: str) -> Path:
        file = self.data_dir / name
        self.kind.export(self.settings, self.data_dir, file)
        return file

    def import_(self, file: Path) -> Restored:
        return self.kind.import_(self.settings, self.data_dir, file, LISTS)


def check_moving(one: Place, other: Place, data: st.DataObject, *, replaces: bool) -> None:
    """Fill one store, import its export into the other, which may already have contents, and
    compare the exports of both: everything but identity and indexes must be the same."""
    with closing(one.open()) as store:
        filled_with(store, data)
    seen = 0
    if replaces:
        with closing(other.open()) as store:
            filled_with(store, data)
            seen = store.load().index
    file = one.export("first")
    done = other.import_(file)
    (head, items), (new_head, new_items) = lines(file), lines(other.export("again"))
    added = [Stamped(name, Stamp(0, 0, 0, 0)) for name in LISTS]
    expected = {key(each) for each in (*unnumbered(items), *added)}
    found = [key(each) for each in unnumbered(new_items)]
    assert len(set(found)) == len(found)
    assert expected <= set(found)
    assert replaces or expected == set(found), "only lists of what was replaced may be more"
    stamps = [each.stamp for each in new_items if isinstance(each, Stamped)]
    assert {each.modify_index for each in stamps} == {new_head.index}
    assert new_head.index == done.summary.index > max(head.index, seen)
    assert new_head.identity != head.identity
    with closing(other.open()) as store:
        (index,) = commit(store, put(node(9)))
    assert index > new_head.index


def check_there_and_back(one: Place, other: Place, data: st.DataObject) -> None:
    """Move contents to the other store and back: no client of either may see an index twice."""
    with closing(one.open()) as store:
        filled_with(store, data)
        seen = [store.load().index]
    for number, (source, target) in enumerate(((one, other), (other, one))):
        file = source.export(f"export-{number}")
        with closing(source.open()) as store:  # the store may take changes after the export
            seen += commit(store, put(node(5)), put(node(6)), put(node(7)))
        seen.append(target.import_(file).summary.index)
        with closing(target.open()) as store:
            seen += commit(store, put(node(number + 1)))
    assert seen == sorted(set(seen))


def key(item: Item) -> tuple[str, bytes]:
    return type(item).__name__, msgspec.json.encode(item, order="deterministic", enc_hook=to_json)
