"""Compaction, while nothing changes and while others write; and documents kept meanwhile.

A change must never look as if nothing had moved since it was planned because upkeep has deleted
something.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from plugind.errors import Compacted, StoreError
from plugind.model import Beat, HistoryQuery
from plugind.store.base import Conflict, Store
from plugind.store.etcd import EtcdStore
from plugind.store.etcd import client as client_module
from plugind.store.etcd.documents import Copies, Copy
from plugind.store.etcd.failures import Unanswered, Unsent
from plugind.store.etcd.following import Follower
from plugind.testing.stores import Rig
from plugind.testing.stores.making import instance, node, node_id, put, swap, transition
from tests.promises import PATIENCE, eventually
from tests.store.etcd.members import Member, etcdctl, members
from tests.store.etcd.test_faults import Lost, Rigs, committed, opened
from tests.store.etcd.test_large import noise


def test_beats_alone_move_the_log_no_further_than_its_head(rig_on: Rigs, etcd: Member) -> None:
    rig = rig_on(etcd, EtcdStore)
    store, other = rig.open(), rig.open()
    index = committed(store, 1)
    for number in range(3):
        store.beat({node_id(1): Beat(number, 5, "run")})
        store.mark("run", number)
    parts = opened(store)
    assert parts._upkeep._seen
    parts._upkeep._seen.clear()
    assert store.newest() == index  # the store records this look
    ((_, head, revision),) = parts._upkeep._seen
    assert head < revision
    parts._upkeep.compact(head, revision)
    assert list(rig.open().read(index)) == []
    (outcome,) = store.commit([swap(node(1), node(1, name="x"), base=index)])
    assert isinstance(outcome, int), outcome
    assert other.wait(index, PATIENCE)
    assert [each.index for each in other.read(index)] == [outcome]
    with pytest.raises(Compacted):
        other.read(index - 1)


def test_a_scope_that_is_written_during_upkeep_stays(
    rig_on: Rigs, etcd: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = rig_on(etcd, EtcdStore)
    store, other = rig.open(), rig.open()
    committed(store, 1)
    base = committed(store, 2)
    parts = opened(store)
    pages = parts._reading.pages
    changed: list[object] = []

    def listed(prefix: bytes, *rest: Any, **more: Any) -> Iterator[Any]:
        yield from list(pages(prefix, *rest, **more))
        if prefix == parts._keys.scopes:  # all are listed, and none is deleted yet
            changed.extend(other.commit([swap(node(1), node(1, name="x"), base=base)]))

    monkeypatch.setattr(parts._reading, "pages", listed)
    parts._upkeep.compact(*parts._reading.head())
    assert [type(each) for each in changed] == [int]
    (outcome,) = store.commit([swap(node(1), node(1, name="y"), base=base)])
    assert isinstance(outcome, Conflict)
    assert {each.name for each in store.load().nodes} == {"x", "vm2"}


def test_a_large_value_stays_as_long_as_its_record(rig_on: Rigs, etcd: Member) -> None:
    """Give the oldest record of the history parts, which are stored before the record."""
    rig = rig_on(etcd, EtcdStore)
    store = rig.open()
    noted = tuple(transition(plugin=noise(20_000 + 2 * number)) for number in range(200))
    (index,) = store.commit([put(node(1), base=store.newest(), transitions=noted)])
    assert isinstance(index, int)
    assert store.wait(index - 1, PATIENCE)
    committed(store, 2)
    parts = opened(store)
    parts._upkeep.compact(*parts._reading.head())
    elsewhere = EtcdStore(parts._client._settings, rig.elsewhere("other").data_dir, shared=True)
    try:
        assert len(elsewhere.history(HistoryQuery(limit=500))) == 200
    finally:
        elsewhere.close()
    parts._upkeep._delete_asides(parts._reading.head()[1])  # as happens once the record is deleted
    assert list(parts._reading.every(parts._keys.asides)) == []


def hold(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Stop a store from following until the returned function is called."""
    follower: Follower = opened(store)._follower
    may = threading.Event()
    follow, closed = follower._follow, follower._closed

    def wait_first(member: Any) -> None:
        eventually(lambda: may.is_set() or closed.is_set())
        follow(member)

    monkeypatch.setattr(follower, "_follow", wait_first)
    follower._cancel()
    eventually(lambda: follower._failure)
    return may.set


def test_a_document_that_was_kept_for_too_long_is_not_written_again(
    rig_on: Rigs, etcd: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = rig_on(etcd, EtcdStore)
    store, other = rig.open(), rig.open()
    go_on = hold(store, monkeypatch)
    index = committed(store, 1)
    assert opened(store)._copies.get(node_id(1)) is not None
    assert other.wait(index - 1, PATIENCE)
    (last,) = other.commit([swap(node(1), node(1, name="x"), base=index)])
    assert isinstance(last, int)
    last = committed(other, 2)
    parts = opened(other)
    parts._upkeep.compact(*parts._reading.head())
    (outcome,) = store.commit([put(instance(1), base=last)])
    assert isinstance(outcome, int), outcome
    contents = store.load()
    assert {each.name for each in contents.nodes} == {"x", "vm2"}
    assert len(contents.instances) == 1
    go_on()


def test_no_document_is_kept_that_is_older_than_what_was_followed() -> None:
    copies = Copies()
    copies.keep("node", Copy(5, b"five"))
    copies.follow(8, ["node"])
    assert copies.get("node") is None
    copies.keep("node", Copy(7, b"seven"))  # its thread was slower than the watch
    assert copies.get("node") is None
    copies.keep("node", Copy(8, b"eight"))
    copies.follow(9, ["other"])
    assert copies.get("node") == Copy(9, b"eight")
    copies.clear(20)
    copies.keep("node", Copy(15, b"from before what was missed"))
    assert copies.get("node") is None


def restored(member: Member, snapshot: str) -> None:
    """Restart a member with the contents of a snapshot."""
    member.kill()
    member.folder.rename(member.folder.with_suffix(".old"))
    etcdctl(
        member,
        *("snapshot", "restore", snapshot, "--name", member.name),
        *("--initial-cluster", f"{member.name}={member.peer}"),
        *("--initial-advertise-peer-urls", member.peer, "--data-dir", str(member.folder)),
    )
    member.start()
    member.wait()


def test_an_etcd_that_was_set_back_takes_no_writes(rig_on: Rigs) -> None:
    with members() as (member,):
        rig = rig_on(member, EtcdStore)
        store = rig.open()
        committed(store, 1)
        snapshot = str(rig.data_dir / "snapshot")
        etcdctl(member, "snapshot", "save", snapshot)
        last = committed(store, 2)
        assert eventually(lambda: store.wait(last - 1, 1))
        restored(member, snapshot)
        writes = ([put(node(3), base=last)], [swap(node(1), node(1, name="x"), base=last)], [])
        for changes in writes:
            assert "set back" in refusal(store, changes)
        with pytest.raises(StoreError, match="set back"):
            store.newest()
        rig.shut(store)
        assert [each.name for each in rig.open().load().nodes] == ["vm1"]


def refusal(store: Store, changes: list[Any]) -> str:
    """Return the reason why changes are not written, once etcd answers."""

    def look() -> str:
        with pytest.raises(StoreError) as caught:
            pytest.fail(f"it was written: {store.commit(changes)}")
        return "" if isinstance(caught.value, Unanswered) else str(caught.value)

    return eventually(look)


@pytest.mark.parametrize("what", ["document", "moved", "lease"])
def test_a_change_that_was_never_sent_was_not_done(
    what: str, rig_on: Rigs, etcd: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = rig_on(etcd, EtcdStore)
    store = rig.open()
    index = committed(store, 1)
    parts = opened(store)
    parts._copies.clear(0)
    change = swap(node(1), node(1, name="x"), base=index)
    lost = {"document": b"/doc/", "moved": b"/scope/"}.get(what)
    if what == "moved":
        change = put(*(node(number) for number in range(2, 60)), base=index)
    if what == "lease":
        parts._committer._lease.forget()
    called = client_module._called

    def lose(member: Any, name: str, request: Any, *rest: Any) -> Any:
        if name == "LeaseGrant" and lost is None:
            raise Lost
        if lost and name == "Txn" and any(lost in op.request_range.key for op in request.success):
            raise Lost
        return called(member, name, request, *rest)

    monkeypatch.setattr(client_module, "_called", lose)
    with pytest.raises(StoreError, match="does not answer"):
        store.commit([change])
    monkeypatch.undo()
    assert store.newest() == index
    (outcome,) = store.commit([change])
    assert isinstance(outcome, int)


def test_a_call_without_a_token_was_not_sent(
    rig_on: Rigs, etcd: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = rig_on(etcd, EtcdStore).open()
    index = committed(store, 1)
    client = opened(store)._client
    for each in client._members:
        monkeypatch.setattr(each.auth, "Authenticate", _lose)
    password = opened(store).data_dir / "password"
    password.write_text("secret")
    settings = client._settings.__class__(
        endpoints=client._settings.endpoints, username="user", password_file=str(password)
    )
    monkeypatch.setattr(client, "_settings", settings)
    with pytest.raises(StoreError, match="does not answer"):
        # The store knows the node's document, so it makes no other call first.
        store.commit([swap(node(1), node(1, name="x"), base=index)])
    with pytest.raises(Unsent) as caught:
        client.metadata(client._members[0])
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "Deadline" in caught.value.details()


def _lose(*_: Any, **more: Any) -> Any:
    raise Lost


def test_while_etcd_is_out_of_reach_reads_do_not_wait_for_it(
    rig_on: Rigs, etcd: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig: Rig = rig_on(etcd, EtcdStore)
    store = rig.open()
    index = committed(store, 1)
    parts = opened(store)
    asked: list[str] = []
    is_away = threading.Event()
    is_away.set()
    head = parts._reading.head

    def away() -> Any:
        if not is_away.is_set():
            return head()
        asked.append(threading.current_thread().name)
        raise StoreError("etcd does not answer")

    monkeypatch.setattr(parts._reading, "head", away)
    eventually(lambda: not store.contact.is_known and parts._failure)
    asked.clear()
    for _ in range(20):
        with pytest.raises(StoreError, match="does not answer"):
            store.newest()
    assert threading.current_thread().name not in asked
    is_away.clear()
    eventually(lambda: store.contact.is_known)
    assert store.newest() == index
