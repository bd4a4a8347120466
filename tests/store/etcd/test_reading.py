"""Reads in pages and parts while servers write, and the history that a server has."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from plugind.errors import StoreError
from plugind.model import Beat, HistoryQuery
from plugind.store.etcd import EtcdStore, reading
from plugind.store.etcd.failures import RevisionGone
from plugind.testing.stores import Rig
from plugind.testing.stores.making import TIME, commit, instance, node, node_id, put, transition
from tests.promises import PATIENCE, eventually
from tests.store.etcd.members import Member
from tests.store.etcd.test_large import noise

Rigs = Callable[..., Rig]


def opened(store: Any) -> Any:
    return store._opened


def test_a_beat_that_is_written_between_two_pages_is_heard(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = rig.open()
    commit(store, put(*(node(number) for number in range(1, 6))))
    store.beat({node_id(number): Beat(TIME, 5, "run") for number in range(1, 6)})
    monkeypatch.setattr(reading, "PAGE", 2)
    client = opened(store)._client
    call, calls = client.call, []

    def write_after_the_first(name: str, request: Any, *rest: Any) -> Any:
        response = call(name, request, *rest)
        if name == "Range" and b"/beat/" in request.key:
            calls.append(request)
            if len(calls) == 1:
                store.beat({node_id(number): Beat(TIME + 1, 5, "run") for number in (1, 5)})
        return response

    monkeypatch.setattr(client, "call", write_after_the_first)
    cursor, first = store.heard(0)
    assert len(calls) > 1
    assert sorted(name for name, _ in first) == [node_id(number) for number in range(1, 6)]
    calls.clear()
    monkeypatch.setattr(client, "call", call)
    assert sorted(store.heard(cursor).beats) == [
        (node_id(number), Beat(TIME + 1, 5, "run")) for number in (1, 5)
    ]


def test_beats_of_a_nodes_last_runs_are_kept(rig: Rig) -> None:
    store = rig.open()
    commit(store, put(node(1), node(2)))
    for number in range(7):
        store.beat({node_id(1): Beat(TIME + number, 5, f"run-{9 - number}")})
    store.beat({node_id(2): Beat(TIME, 5, "one")})
    store.beat({node_id(3): Beat(TIME, 5, "no node")})
    parts = opened(store)
    parts._upkeep.compact(*parts._reading.head())
    kept = [(name, beat.run) for name, beat in store.heard(0).beats]
    runs = [(node_id(1), f"run-{9 - number}") for number in range(3, 7)]
    assert kept[:5] == [*runs, (node_id(2), "one")]
    assert store.load().beats[node_id(1)] == Beat(TIME + 6, 5, "run-3")


def test_what_is_followed_while_the_history_is_filled_is_in_it(
    rig_on: Rigs, etcd: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = rig_on(etcd, EtcdStore)
    store, other = rig.open(), rig.elsewhere("other")
    other = EtcdStore(rig.settings(), other.data_dir, shared=True)
    try:
        commit(store, put(node(1), transitions=(transition(after="first"),)))
        histories = opened(store)._histories
        histories._is_behind = True
        head = histories._reading.head
        written: list[int] = []

        def head_and_write() -> tuple[int, int]:
            found: tuple[int, int] = head()
            if not written and threading.current_thread() is threading.main_thread():
                written.append(0)
                later = put(node(2), transitions=(transition(after="later"),))
                written.extend(commit(other, later))
                store.wait(written[-1] - 1, 0.5)  # it is not followed before the file is filled
            return found

        monkeypatch.setattr(histories._reading, "head", head_and_write)
        store.history(HistoryQuery())
        assert len(written) == 2
        assert store.wait(written[-1] - 1, PATIENCE)
        afters = [each.transition.after for each in store.history(HistoryQuery())]
        assert afters == ["later", "first"]
    finally:
        other.close()


@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_server_that_was_away_goes_on_where_large_values_have_left(
    is_compacted: bool, rig_on: Rigs, etcd: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = rig_on(etcd, EtcdStore)
    store, other = rig.open(compact=is_compacted), rig.open(compact=is_compacted)
    (index,) = commit(store, put(node(1)))
    assert other.wait(index - 1, PATIENCE)
    follower = opened(other)._follower
    away, opened_again = threading.Event(), threading.Event()
    decoded = follower._decoded

    def late(value: bytes, revision: int) -> Any:
        opened_again.set()
        assert away.wait(PATIENCE)
        return decoded(value, revision)

    follower._decoded = late
    large = [instance(1, f"p{n}", text=noise(40_000)) for n in range(60)]
    (index,) = commit(store, put(*large, base=index))
    assert opened_again.wait(PATIENCE)
    (last,) = commit(store, put(node(2), base=index))
    parts = opened(store)
    parts._upkeep.compact(*parts._reading.head())
    assert not list(parts._reading.every(parts._keys.asides + b"log/"))
    away.set()
    assert eventually(lambda: other.wait(last - 1, 1))
    assert len(other.load().instances) == 60
    eventually(lambda: not follower._failure)


def test_parts_that_are_gone_have_all_read_again(rig: Rig) -> None:
    store = rig.open()
    asides = opened(store)._asides
    (value,) = asides.put("doc", [noise(100).encode()])
    revision = opened(store)._reading.head()[1]
    opened(store)._reading.write(asides.removal(value))
    assert asides.whole(value, revision) == noise(100).encode()
    with pytest.raises(RevisionGone, match="gone"):
        asides.whole(value)
    assert issubclass(RevisionGone, StoreError)
