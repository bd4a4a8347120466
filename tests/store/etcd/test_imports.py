"""Imports into etcd: lost answers, failures midway, and servers running meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from plugind.errors import StoreError
from plugind.model import HistoryQuery
from plugind.store.etcd import EtcdStore, replacing
from plugind.store.etcd import client as client_module
from plugind.store.etcd.client import Client
from plugind.store.etcd.keys import GENERATION, Root
from plugind.store.etcd.rpc_pb2 import RangeRequest
from plugind.store.etcd.transactions import end_of
from plugind.store.sqlite import SqliteStore
from plugind.store.sqlite.log import LogLimits
from plugind.testing.stores import Rig
from plugind.testing.stores.making import commit, node, put, transition
from tests.store.etcd.members import Member
from tests.store.moving import Place

Rigs = Callable[..., Rig]


@pytest.fixture
def place(etcd: Member, rig_on: Rigs) -> Place:
    """Return a store with one node and no server, on a member that it knows by two names."""
    rig = rig_on(etcd, EtcdStore)
    port = etcd.address.rpartition(":")[2]
    made = rig.settings(endpoints=[etcd.address, f"localhost:{port}"])
    found = Place(EtcdStore, made, rig.data_dir)
    with closing(found.open()) as store:
        commit(store, put(node(1)))
    return found


def generations(place: Place) -> set[str]:
    """Return the generations that have keys in etcd."""
    client = Client(place.settings)
    start = Root(place.settings.prefix).prefix + GENERATION.encode()
    try:
        found = client.call(
            "Range", RangeRequest(key=start, range_end=end_of(start), keys_only=True)
        ).kvs
    finally:
        client.close()
    return {each.key.removeprefix(start).decode().partition("/")[0] for each in found}


class Lost(grpc.RpcError):
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.DEADLINE_EXCEEDED

    def details(self) -> str:
        return "Deadline Exceeded"


@pytest.mark.parametrize("times", [1, 2])
def test_an_import_whose_answer_is_lost_has_succeeded(
    times: int, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = place.export("export")
    called = client_module._called
    lost: list[Any] = []

    def lose(member: Any, name: str, request: Any, *rest: Any) -> Any:
        response = called(member, name, request, *rest)
        if (
            name == "Txn"
            and len(lost) < times
            and any(each.request_put.key.endswith(b"/current") for each in request.success)
        ):
            lost.append(response)
            raise Lost
        return response

    monkeypatch.setattr(client_module, "_called", lose)
    done = place.import_(file)
    assert len(lost) == times
    with closing(place.open()) as store:
        assert store.load().index == done.summary.index
    assert len(generations(place)) == 1


def test_an_import_that_cannot_delete_what_it_replaced_succeeds(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = place.export("export")

    def fail(*_: Any) -> None:
        raise StoreError("etcd is slow")

    with monkeypatch.context() as patched:
        patched.setattr(replacing, "_delete_others", fail)
        done = place.import_(file)
    with closing(place.open()) as store:
        assert store.load().index == done.summary.index
    assert len(generations(place)) == 2
    place.import_(file)
    assert len(generations(place)) == 1


def test_a_server_that_ran_during_an_import_is_noticed(place: Place) -> None:
    file = place.export("export")
    written: list[int] = []

    def write_once(*_: Any) -> None:
        if not written:
            with closing(place.open()) as store:
                written.extend(commit(store, put(node(2))))

    with pytest.raises(StoreError, match=r"a server wrote .* nothing was replaced"):
        EtcdStore.import_(place.settings, place.data_dir, file, [], write_once)
    assert written
    with closing(place.open()) as store:
        assert len(store.load().nodes) == 2
    assert len(generations(place)) == 1


@pytest.mark.parametrize("name", ["_puts", "_put_in_force"])
def test_an_import_that_fails_leaves_nothing(
    name: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = place.export("export")
    before = generations(place)

    def fail(*_: Any) -> None:
        raise StoreError("etcd is slow")

    with monkeypatch.context() as patched:
        patched.setattr(replacing, name, fail)
        with pytest.raises(StoreError, match="slow"):
            place.import_(file)
    assert generations(place) == before
    with closing(place.open()) as store:
        assert len(store.load().nodes) == 1


def test_history_that_came_back_from_etcd_is_kept(place: Place, tmp_path: Path) -> None:
    """Check that gaps, which etcd leaves in its numbers of transitions, are closed in SQLite."""
    with closing(place.open()) as store:
        for number in range(40):
            moved = tuple(transition(after=str(n)) for n in range(5))
            commit(store, put(node(2, version=str(number)), transitions=moved))
    folder = tmp_path / "sqlite"
    folder.mkdir()
    back = Place(SqliteStore, LogLimits(), folder)
    back.import_(place.export("export"))
    with closing(back.open()) as store:
        store.retention = store.retention._replace(maximum=1_000)
        for number in range(50):
            commit(store, put(node(3, version=str(number)), transitions=(transition(),)))
        found = store.history(HistoryQuery(limit=1_000))
    assert len(found) == 250
    assert [each.seq for each in found] == list(range(found[0].seq, found[0].seq - 250, -1))
