"""Exports between two kinds of store: nothing is lost, and indexes only increase."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugind.errors import StoreError
from plugind.model import (
    Declaration,
    HistoryQuery,
    KeptSecret,
    Node,
    Stamp,
    StoredTransition,
)
from plugind.store import exporting
from plugind.store.base import Contents, Store, Summary, no_progress
from plugind.store.exporting import KINDS, Stamped
from plugind.store.soundness import faults
from plugind.store.sqlite import SqliteStore, sound
from plugind.store.sqlite.file import migrate
from plugind.store.sqlite.filling import filled
from plugind.store.sqlite.items import write
from plugind.store.sqlite.log import LogLimits
from plugind.store.sqlite.numbering import LEAP, Replaced
from plugind.store.staging import staged
from plugind.testing.stores.making import (
    commit,
    declaration,
    forgotten,
    instance,
    node,
    node_id,
    put,
    transition,
)
from tests.store.memory import MemoryStore
from tests.store.moving import LISTS, Place, check_moving, check_there_and_back, lines, unnumbered

RECORDED = Path(__file__).parent / "exports" / "format-1.jsonl"
"""An export with some of everything, written by the first version that could export."""

SETTINGS = LogLimits()


@contextmanager
def folders(*names: str) -> Iterator[list[Path]]:
    with tempfile.TemporaryDirectory() as folder:
        made = [Path(folder) / name for name in names]
        for each in made:
            each.mkdir()
        yield made


WAYS = [(SqliteStore, MemoryStore), (MemoryStore, SqliteStore)]


@pytest.mark.parametrize(("one", "other"), WAYS)
@settings(max_examples=15, deadline=None)
@given(data=st.data(), replaces=st.booleans())
def test_what_is_imported_is_exported_again(
    one: type[Store], other: type[Store], data: st.DataObject, replaces: bool
) -> None:
    with folders("one", "other") as (here, there):
        check_moving(
            Place(one, SETTINGS, here), Place(other, SETTINGS, there), data, replaces=replaces
        )


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_there_and_back_indexes_only_grow(data: st.DataObject) -> None:
    with folders("one", "other") as (here, there):
        one, other = Place(SqliteStore, SETTINGS, here), Place(MemoryStore, SETTINGS, there)
        check_there_and_back(one, other, data)


@pytest.mark.parametrize("kind", [SqliteStore, MemoryStore])
def test_an_export_of_the_first_format_is_imported(kind: type[Store], tmp_path: Path) -> None:
    head, items = lines(RECORDED)
    assert (head.format, head.counts, len(items)) == (1, None, 20)
    assert {type(each) for each in items} == set(KINDS.values())
    done = kind.import_(SETTINGS, tmp_path, RECORDED, ["nodes"])
    assert (done.summary.nodes, done.summary.instances, done.summary.declarations) == (2, 1, 1)
    file = tmp_path / "again"
    kind.export(SETTINGS, tmp_path, file)
    new_head, again = lines(file)
    assert unnumbered(again) == unnumbered(items)
    assert new_head.index > head.index
    with closing(kind(SETTINGS, tmp_path)) as store:
        found = store.load()
        assert [each.id for each in found.nodes] == [node_id(1), node_id(2)]
        (one,) = found.instances
        assert one.fingerprint.allocation
        assert one.fingerprint.details == {"list": [1, None, 2.5], "text": "é\n"}
        assert len(store.history(HistoryQuery())) == 4


def test_the_embedded_store_keeps_all_of_a_history_with_gaps(tmp_path: Path) -> None:
    """Close the gaps that other stores may leave in the numbers: this store relies on none."""
    here, there = tmp_path / "here", tmp_path / "there"
    for each in (here, there):
        each.mkdir()
    with closing(SqliteStore(SETTINGS, here)) as store:
        contents = store.load()
    apart = [StoredTransition(7 + n * 2**16, 1 + n, transition()) for n in range(200)]
    items = exporting.items_of(contents, apart)
    counts = exporting.counts_of(contents, len(apart))
    exporting.write(here / "export", "other", 300, counts, items, no_progress)
    SqliteStore.import_(SETTINGS, there, here / "export", ())
    with closing(SqliteStore(SETTINGS, there)) as store:
        store.retention = store.retention._replace(maximum=1_000)
        for number in range(50):
            commit(store, put(node(1, version=str(number)), transitions=(transition(),)))
        found = store.history(HistoryQuery(limit=1_000))
    assert [each.seq for each in found] == list(range(256, 6, -1))
    with staged(here / "export", there, no_progress) as read:
        assert read.last_seq == apart[-1].seq


def test_its_head_has_how_many_there_are(tmp_path: Path) -> None:
    SqliteStore.import_(SETTINGS, tmp_path, RECORDED, ())
    SqliteStore.export(SETTINGS, tmp_path, tmp_path / "again")
    head, items = lines(tmp_path / "again")
    assert head.counts == {
        name: sum(type(each) is kind for each in items) for name, kind in KINDS.items()
    }
    assert head.lines == sum(head.counts.values())


def _digested(lines: list[bytes]) -> list[bytes]:
    """Return lines with a matching digest, as a faulty store would write them."""
    digest = hashlib.blake2b(b"".join(each + b"\n" for each in lines[:-1])).hexdigest()
    return [*lines[:-1], b'{"end":"%s"}' % digest.encode()]


def _kinds_swapped(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[3], *lines[1:3], *lines[4:]]


def _twice(lines: list[bytes]) -> list[bytes]:
    head = lines[0].replace(b'"lines":20', b'"lines":21')
    return [head, lines[1], *lines[1:]]


def _counted_wrongly(lines: list[bytes]) -> list[bytes]:
    return [lines[0].replace(b"}}", b',"counts":{"node":3}}}'), *lines[1:]]


def _no_node(lines: list[bytes]) -> list[bytes]:
    head = lines[0].replace(b'"lines":20', b'"lines":19')
    return [head, lines[1], *lines[3:]]


def _seq_again(lines: list[bytes]) -> list[bytes]:
    return [each.replace(b'"seq":3', b'"seq":2') for each in lines]


@pytest.mark.parametrize("kind", [SqliteStore, MemoryStore])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (_kinds_swapped, ', line 3: "node" may not follow "instance"'),
        (_twice, ": several lines are of the same node"),
        (_counted_wrongly, ", line 22: its lines are not those that were exported"),
        (_no_node, ": 1 instances have no node, the first "),
        (_seq_again, ", line 20: seq must be greater"),
        (lambda lines: [b"", *lines], ", line 1: is not of an export: "),
        (lambda lines: lines[1:], ', line 1: "plugind" must be the first line'),
        (lambda lines: [lines[0], *lines], ', line 2: "plugind" may not follow "plugind"'),
    ],
)
def test_a_wrong_export_is_one_line_and_replaces_nothing(
    kind: type[Store],
    fault: Callable[[list[bytes]], list[bytes]],
    message: str,
    tmp_path: Path,
) -> None:
    with closing(kind(SETTINGS, tmp_path)) as store:
        commit(store, put(node(7)))
        before = store.load()
    file = tmp_path / "wrong"
    wrong = _digested(fault(RECORDED.read_bytes().splitlines()))
    file.write_bytes(b"".join(each + b"\n" for each in wrong))
    there = {each.name for each in tmp_path.iterdir()}
    with pytest.raises(StoreError) as caught:
        kind.import_(SETTINGS, tmp_path, file, LISTS)
    assert str(caught.value).startswith(f"{file}{message}")
    assert "\n" not in str(caught.value)
    assert {each.name for each in tmp_path.iterdir()} == there
    with closing(kind(SETTINGS, tmp_path)) as store:
        assert store.load() == before


def test_an_export_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    text = RECORDED.read_bytes()
    file = tmp_path / "cut"
    for length in [*range(0, len(text) - 1, 97), len(text) - 2]:
        file.write_bytes(text[:length])
        with pytest.raises(StoreError, match="line"):
            lines(file)


def test_a_line_without_end_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "LINE_BYTES", 200)
    with pytest.raises(StoreError, match="line 2: it is longer than any line"):
        lines(RECORDED)


def test_what_is_staged_is_read_in_any_order(tmp_path: Path) -> None:
    with closing(SqliteStore(SETTINGS, tmp_path)) as store:
        commit(
            store, put(*(node(n) for n in range(4)), instance(1), instance(1, "efs"), instance(3))
        )
        contents = store.load()
    SqliteStore.export(SETTINGS, tmp_path, tmp_path / "export")
    with staged(tmp_path / "export", tmp_path, no_progress) as found:
        assert {each.id: [one.key.id for one in some] for each, some in found.nodes()} == {
            node_id(0): [],
            node_id(1): ["ebs", "efs"],
            node_id(2): [],
            node_id(3): ["ebs"],
        }
        assert (found.index, found.counts["node"]) == (contents.index, 4)
        assert list(found.read(Declaration)) == []
        identity = found.identity
        found.renumber(Replaced(90, [("plugins/other", Stamp(1, 1, 1, 1))]), ["plugins/mine"])
        assert found.index == 91
        assert found.identity != identity
        stamps = {each.resource: each.stamp for each in found.read(Stamped)}
        assert {each.modify_index for each in stamps.values()} == {91}
        assert stamps.keys() == {*contents.stamps, "plugins/other", "plugins/mine"}
        assert list(found.read_all())
        assert found.summary(3) == Summary(3, 91, 4, 3, 0)
        found.renumber(Replaced(), [])
        assert found.index == 91 + LEAP
    assert not list(tmp_path.glob(".plugind-*"))


# The rules in SQL must match those of plugind.store.soundness.

_ODD = st.sampled_from(("x", "é", "node/x", "plugins/", "nodes"))
_ids = st.sampled_from(("n1", "n2"))
_stamps = st.builds(Stamp, st.integers(0, 3), st.integers(0, 5), st.just(1), st.just(1))
_resources = st.sampled_from(
    (
        *("node/n1", "node/n2", "nodes", "history", "node/x"),
        *("plugin/sample/ebs", "plugin/sample/é", "plugins/sample", "plugins/x", "plugin/x/x"),
    )
)


@st.composite
def odd_contents(draw: st.DrawFn) -> Contents:
    ids = draw(st.sets(_ids))
    keys = draw(st.sets(st.tuples(_ids, st.sampled_from(("ebs", "é")))))
    return Contents(
        4,
        [Node(each, each) for each in sorted(ids)],
        [
            instance(1, name).changed(key=instance(1, name).key._replace(node_id=id_))
            for id_, name in sorted(keys)
        ],
        [declaration(each) for each in sorted(draw(st.sets(st.sampled_from(("ebs", "é")))))],
        draw(st.dictionaries(_resources, _stamps)),
        [
            replace(forgotten(1), key=forgotten(1).key._replace(node_id=id_))
            for id_ in sorted(draw(st.sets(_ids)))
        ],
        kept_secrets=[KeptSecret(id_, "h", "a", 1) for id_ in sorted(draw(st.sets(_ids)))],
    )


@settings(max_examples=150, deadline=None)
@given(odd_contents())
def test_the_rules_in_sql_are_those_in_memory(contents: Contents) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db, Path("memory"))
        write(db, exporting.items_of(contents, ()))
        db.execute("UPDATE store SET last_index = ?", (contents.index,))
        assert list(sound.faults(db)) == list(faults(contents))


def test_a_file_is_made_of_an_export_as_it_is(tmp_path: Path) -> None:
    with filled(RECORDED, tmp_path / "new", no_progress) as db:
        assert db.execute("SELECT count(*) FROM transitions").fetchone() == (4,)
