"""Members that hang or are gone, lost answers, and an etcd that is full or compacted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from plugind.errors import Compacted, StoreError
from plugind.model import HistoryQuery
from plugind.store.base import FIRST_INDEX, Conflict, OutcomeUnknown, Store
from plugind.store.etcd import EtcdStore
from plugind.store.etcd import client as client_module
from plugind.store.etcd.rpc_pb2 import CompactionRequest
from plugind.testing.stores import Rig
from plugind.testing.stores.making import drop, node, put, swap, transition
from tests.promises import PATIENCE, SOON, eventually, promised
from tests.store.etcd.members import Member, etcdctl, members, paused

Rigs = Callable[..., Rig]


@pytest.fixture
def three() -> Iterator[list[Member]]:
    """Run an etcd of three members."""
    with members(3) as found:
        yield found


def opened(store: Store) -> Any:
    """Return the parts of a store."""
    return store._opened  # type: ignore[attr-defined]


def open_on(found: list[Member], rig: Rig) -> Store:
    return rig.open(endpoints=[each.address for each in found])


def committed(store: Store, number: int, within: float = PATIENCE) -> int:
    """Commit a change, and try again if nothing was done because a member is gone. Return its
    index."""
    deadline = time.monotonic() + within
    while True:
        try:
            (outcome,) = store.commit([put(node(number), base=store.newest())])
        except StoreError:
            outcome = None
        if isinstance(outcome, int):
            return outcome
        assert time.monotonic() < deadline, outcome
        time.sleep(0.1)


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("how", ["paused", "killed"])
def test_the_next_member_does_what_one_does_not(
    how: str, which: int, three: list[Member], rig_on: Rigs
) -> None:
    rig = rig_on(three[0], EtcdStore)
    store, other = open_on(three, rig), open_on(three, rig)
    committed(store, 1)
    if how == "killed":
        three[which].kill()
        last = committed(store, 2)
        assert other.newest() >= last
        assert eventually(lambda: other.wait(last - 1, 1))
        three[which].start()
    else:
        with paused(three[which]):
            last = committed(store, 2)
            assert other.newest() >= last
            assert eventually(lambda: other.wait(last - 1, 1))
    assert len(other.load().nodes) == 2
    with promised(SOON):
        for number in range(3, 13):
            committed(store, number)


def test_without_a_majority_every_call_ends_soon_and_all_is_well_afterwards(
    three: list[Member], rig_on: Rigs
) -> None:
    store = open_on(three, rig_on(three[0], EtcdStore))
    index = committed(store, 1)
    calls: list[Callable[[], Any]] = [
        store.newest,
        store.load,
        lambda: store.commit([]),
        lambda: store.beat({}),
        lambda: store.runs(0),
        lambda: store.mark("run", 5),
    ]
    with paused(three[1]), paused(three[2]):
        eventually(lambda: not store.contact.is_known)
        assert "etcd" in store.trouble
        for call in (calls[0], calls[2], calls[4], calls[5]):
            error = pytest.raises(StoreError, match=r"etcd does not answer .*: look whether")
            with promised(SOON), error:
                call()
        assert not store.has_duty()
        assert not store.read(index)
    eventually(lambda: store.contact.is_known and not store.trouble)
    committed(store, 2)
    assert eventually(store.has_duty)


def test_a_member_that_does_not_answer_costs_no_processor(etcd: Member, rig_on: Rigs) -> None:
    with members() as (member,):
        store = rig_on(member, EtcdStore).open()
        commit_one = committed(store, 1)
        with paused(member):
            eventually(lambda: not store.contact.is_known)
            begun, used = time.monotonic(), time.process_time()
            time.sleep(3)  # the measurement is of these seconds
            share = (time.process_time() - used) / (time.monotonic() - begun)
        assert share < 0.2
        assert commit_one


class LostAnswers:
    """Make the calls of one method, but lose the answers to some of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self._name = name
        self._called = client_module._called
        self.lose = 0
        self.before: Callable[[], object] = lambda: None
        monkeypatch.setattr(client_module, "_called", self)

    def __call__(self, member: Any, name: str, request: Any, *rest: Any) -> Any:
        is_commit = (
            name == self._name
            and any(b"/log/head" in each.request_put.key for each in (request.success))
            if name == "Txn"
            else False
        )
        response = self._called(member, name, request, *rest)
        if is_commit and self.lose:
            self.lose -= 1
            self.before()
            raise Lost
        return response


class Lost(grpc.RpcError):
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.DEADLINE_EXCEEDED

    def details(self) -> str:
        return "Deadline Exceeded"


@pytest.fixture
def twice(etcd: Member, rig_on: Rigs) -> Store:
    """Open a store that has two names for one member, so it repeats each failed call once."""
    port = etcd.address.rpartition(":")[2]
    return rig_on(etcd, EtcdStore).open(endpoints=[etcd.address, f"localhost:{port}"])


def test_a_repeated_transaction_finds_that_it_was_done(
    twice: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = committed(twice, 1)
    lost = LostAnswers(monkeypatch, "Txn")
    lost.lose = 1
    first = put(node(2), base=index)
    second = swap(node(1), node(1, name="x"), base=index)
    outcomes = twice.commit([first, second])
    assert not lost.lose
    assert all(isinstance(each, int) for each in outcomes), outcomes
    assert twice.wait(outcomes[-1] - 1, PATIENCE)  # type: ignore[operator]
    found = twice.read(index)
    assert [(each.index, each.change.id) for each in found] == [
        (outcomes[0], first.id),
        (outcomes[1], second.id),
    ]
    # The store knows the document that it put, so the next change can be based on it.
    (last,) = twice.commit([swap(node(1, name="x"), node(1, name="y"), base=found[-1].index)])
    assert isinstance(last, int)


def test_a_repetition_after_another_change_does_not_conflict(
    twice: Store, rig_on: Rigs, etcd: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let another server's change follow one whose answer was lost, before that is repeated."""
    index = committed(twice, 1)
    lost = LostAnswers(monkeypatch, "Txn")
    others: list[int] = []

    def change_it() -> None:
        others.extend(
            commit_as_other(twice, swap(node(1, name="x"), node(1, name="z"), base=twice.newest()))
        )

    lost.before, lost.lose = change_it, 1
    (outcome,) = twice.commit([swap(node(1), node(1, name="x"), base=index)])
    assert isinstance(outcome, int)
    assert others > [outcome]
    assert [each.name for each in twice.load().nodes] == ["z"]


def commit_as_other(store: Store, change: Any) -> list[int]:
    other = type(store)(opened(store)._client._settings, opened(store).data_dir, shared=True)
    try:
        return [each for each in other.commit([change]) if isinstance(each, int)]
    finally:
        other.close()


def test_a_lease_that_ended_is_replaced(rig_on: Rigs, etcd: Member) -> None:
    store = rig_on(etcd, EtcdStore).open()
    committed(store, 1)
    opened(store)._committer._lease._lease.id = 12345
    (outcome,) = store.commit([put(node(2), base=store.newest())])
    assert isinstance(outcome, int)


def test_an_outcome_that_no_answer_brings_is_unknown(
    twice: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = committed(twice, 1)
    lost = LostAnswers(monkeypatch, "Txn")
    lost.lose = 2
    change = put(node(2), base=index)
    (outcome,) = twice.commit([change])
    assert isinstance(outcome, OutcomeUnknown)
    assert "\n" not in outcome.reason
    assert eventually(lambda: [each.change.id for each in twice.read(index)]) == [change.id]


def test_a_follower_that_was_away_during_a_compaction_has_to_load_again(
    rig_on: Rigs, etcd: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = rig_on(etcd, EtcdStore)
    store, other = rig.open(), rig.open()
    index = committed(store, 1)
    assert other.wait(index - 1, PATIENCE)
    away = threading.Event()
    follower = opened(other)._follower
    follow = follower._follow

    def wait_first(member: Any) -> None:
        assert away.wait(PATIENCE)
        follow(member)

    monkeypatch.setattr(follower, "_follow", wait_first)
    follower._cancel()
    eventually(lambda: follower._failure)
    for number in range(2, 8):
        made = put(node(number), base=store.newest(), transitions=(transition(),))
        assert isinstance(store.commit([made])[0], int)
    last = store.newest()
    revision = opened(store)._reading.head()[1]
    opened(store)._client.call("Compact", CompactionRequest(revision=revision), 5)
    away.set()
    assert eventually(lambda: other.wait(last - 1, 1))
    with pytest.raises(Compacted):
        other.read(index)
    found = other.load()
    assert (found.index, len(found.nodes)) == (last, 7)
    assert len(other.history(HistoryQuery())) == 6
    later = committed(store, 8)
    assert other.wait(later - 1, PATIENCE)
    assert [each.index for each in other.read(last)] == [later]


def test_upkeep_compacts_and_deletes_what_is_old(rig_on: Rigs, etcd: Member) -> None:
    rig = rig_on(etcd, EtcdStore)
    store = rig.open()
    base = committed(store, 1)
    store.beat({})
    for number in range(2, 12):
        committed(store, number)
    (gone,) = store.commit([drop(node(2), base=store.newest())])
    parts = opened(store)
    scopes = len(list(parts._reading.every(parts._keys.scopes)))
    parts._upkeep.compact(*parts._reading.head())
    assert len(list(parts._reading.every(parts._keys.scopes))) < scopes
    with pytest.raises(Compacted):
        rig.open().read(base)
    # A change planned before the start of the log conflicts: what changed since is unknown.
    (outcome,) = store.commit([swap(node(1), node(1, name="x"), base=base)])
    assert isinstance(outcome, Conflict)
    (outcome,) = store.commit([swap(node(1), node(1, name="x"), base=store.newest())])
    assert isinstance(outcome, int)
    assert isinstance(gone, int)
    head, revision = parts._reading.head()
    parts._upkeep.compact(head - 5, revision - 5)  # already compacted beyond this: nothing is done


def test_transitions_leave_etcd_with_those_of_the_history(rig_on: Rigs, etcd: Member) -> None:
    rig = rig_on(etcd, EtcdStore)
    store = rig.open()
    store.retention = store.retention._replace(maximum=5)
    for number in range(1, 31):
        made = put(node(number), base=store.newest(), transitions=(transition(after=str(number)),))
        (index,) = store.commit([made])
        assert isinstance(index, int)
    assert store.wait(index - 1, PATIENCE)
    parts = opened(store)
    parts._upkeep.compact(*parts._reading.head())
    assert len(list(parts._reading.every(parts._keys.histories))) == 5
    elsewhere = EtcdStore(parts._client._settings, rig.elsewhere("other").data_dir, shared=True)
    try:
        mine, theirs = store.history(HistoryQuery()), elsewhere.history(HistoryQuery())
    finally:
        elsewhere.close()
    assert list(mine) == list(theirs)
    assert [each.transition.after for each in mine] == ["30", "29", "28", "27", "26"]


def test_an_etcd_that_is_full_says_what_to_do_and_goes_on_afterwards(rig_on: Rigs) -> None:
    with members(1, "--quota-backend-bytes", str(2**21)) as (member,):
        store = rig_on(member, EtcdStore).open()
        text = {"text": "".join(str(n) for n in range(40_000))}
        index, failure = FIRST_INDEX, ""
        for number in range(200):
            try:
                found = store.commit([put(node(number, meta=text), base=store.newest())])
            except StoreError as error:
                failure = str(error)
                break
            assert isinstance(found[0], int)
            index = found[0]
        for word in ("full", "compact", "defrag", "disarm"):
            assert word in failure
        assert "\n" not in failure
        with pytest.raises(StoreError, match="full"):
            store.commit([])
        assert store.load().index == index
        parts = opened(store)
        parts._upkeep.compact(*parts._reading.head())  # deletions and compactions go on
        for command in (["defrag"], ["alarm", "disarm"]):
            etcdctl(member, *command)
        committed(store, 1_000)


def test_the_duty_of_a_server_that_hangs_goes_to_another(
    rig_on: Rigs, etcd: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = rig_on(etcd, EtcdStore)
    store, other = rig.open(), rig.open()
    assert store.has_duty()
    assert not other.has_duty()
    duty = opened(store)._duty
    monkeypatch.setattr(duty, "renew", lambda: None)
    monkeypatch.setattr(duty, "take", lambda: duty.is_held)
    ends: list[float] = []
    while not other.has_duty():
        if store.has_duty():
            ends.append(time.monotonic())
        time.sleep(0.02)
        assert not ends or time.monotonic() - ends[0] < PATIENCE
    assert not store.has_duty(), "two have the duty"


def test_a_server_whose_store_was_replaced_writes_nothing_more(rig_on: Rigs, etcd: Member) -> None:
    rig = rig_on(etcd, EtcdStore)
    store = rig.open()
    index = committed(store, 1)
    file = rig.data_dir / "export"
    EtcdStore.export(rig.settings(), rig.data_dir, file)
    opened(store)._server.release()  # as from a server that hung for longer than its lease
    opened(store)._server.take = lambda: True
    EtcdStore.import_(rig.settings(), rig.data_dir, file, [])
    for write in (
        lambda: store.commit([put(node(2), base=index)]),
        lambda: store.commit([]),
        lambda: store.mark("run", 5),
        lambda: store.beat({"x": store.load().beats.get("x") or (1, 2, "")}),
    ):
        with pytest.raises(StoreError, match="replaced"):
            write()
    rig.shut(store)
    assert len(rig.open().load().nodes) == 1
