"""Members that have lost their data: one of three, or the only one of an etcd."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from plugind.errors import StoreError
from plugind.model import Beat
from plugind.store.base import Store
from plugind.store.etcd import EtcdStore
from plugind.testing.stores import Rig
from plugind.testing.stores.making import commit, node, put
from tests.promises import eventually
from tests.store.etcd.members import Member, etcdctl, members
from tests.store.etcd.test_faults import committed, open_on, opened
from tests.store.etcd.test_server import plugin_ids, servers
from tests.support import FakeAgent, up

Rigs = Callable[..., Rig]
GONE = "etcd has lost the store"


def member_id(asked: Member, name: str) -> str:
    rows = [line.split(", ") for line in etcdctl(asked, "member", "list").stdout.splitlines()]
    (found,) = (row[0] for row in rows if row[2] == name)
    return found


def test_a_member_that_lost_its_data_refuses_to_start_and_can_be_replaced(rig_on: Rigs) -> None:
    with members(3) as found:
        first, second, third = found
        store = open_on(found, rig_on(first, EtcdStore))
        committed(store, 1)
        first.wipe()
        first.start()
        eventually(first.ended)
        committed(store, 2)
        # The store's watch moves to another member after a few tries.
        eventually(lambda: store.contact.is_known and not store.trouble)

        # etcd accepts these once it considers its other members healthy, which takes a while.
        for words in (
            ("remove", member_id(second, first.name)),
            ("add", first.name, "--peer-urls", first.peer),
        ):
            eventually(
                lambda words=words: not etcdctl(second, "member", *words, check=False).returncode
            )
        first.wipe()
        first.arguments = (*first.arguments, "--initial-cluster-state", "existing")
        first.start()
        first.wait()
        third.kill()  # so that the new member must be asked
        index = committed(store, 3)
        assert eventually(lambda: store.wait(index - 1, 1))
        assert len(store.load().nodes) == 3


def writes(store: Store) -> list[Callable[[], object]]:
    return [
        lambda: store.commit([put(node(2), base=opened(store)._follower.end)]),
        lambda: store.commit([]),
        lambda: store.mark("run", 5),
        lambda: store.beat({"x": Beat(1, 2, "")}),
    ]


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_nothing_is_acknowledged_by_an_etcd_that_lost_its_data(
    is_made_anew: bool, rig_on: Rigs
) -> None:
    """Let another server start, too, and create a store at the very revision of the old one."""
    with members() as (member,):
        rig = rig_on(member, EtcdStore)
        store = rig.open()
        revision = opened(store)._indexes.revision
        committed(store, 1)
        member.wipe()
        member.start()
        member.wait()
        why = GONE
        if is_made_anew:
            other = rig.elsewhere("other")
            other.prefixes[other.data_dir] = rig.prefixes[rig.data_dir]
            assert opened(other.open())._indexes.revision == revision
            why = "was replaced: restart this server"
        eventually(lambda: why in store.trouble)
        for each in (*writes(store), store.newest, store.load):
            with pytest.raises(StoreError, match=why) as caught:
                each()
            assert "\n" not in str(caught.value)
        assert not store.has_duty()
        begun, used = time.monotonic(), time.process_time()
        time.sleep(2)  # the measurement is of these seconds
        assert time.process_time() - used < 0.2 * (time.monotonic() - begun)
        rig.shut(store)
        again = rig.open()
        assert not again.load().nodes
        commit(again, put(node(5)))


def test_a_backup_brings_the_store_back_while_servers_refuse(rig_on: Rigs, tmp_path: Path) -> None:
    with members() as (member,):
        rig = rig_on(member, EtcdStore)
        store = rig.open()
        last = committed(store, 1)
        file = tmp_path / "backup"
        EtcdStore.backup(rig.settings(), rig.data_dir, file)
        member.wipe()
        member.start()
        member.wait()
        EtcdStore.restore(rig.settings(), rig.data_dir, file, [])
        with pytest.raises(StoreError, match="was replaced: restart this server"):
            store.commit([])
        rig.shut(store)
        found = rig.open().load()
        assert len(found.nodes) == 1
        assert found.index > last


def test_agents_fill_a_server_again_that_is_restarted_on_an_empty_etcd(tmp_path: Path) -> None:
    with members() as (member,):
        run = servers(tmp_path, member.address)
        with run() as api:
            agent = FakeAgent(api)
            agent.report({"ebs0": {"node": up()}})
            index = agent.index
            member.wipe()
            member.start()
            member.wait()
            eventually(lambda: GONE in api.call("GET", "/v1/agent/health").text)
            answer = api.call("GET", "/v1/plugins?type=csi")
            assert (answer.status, GONE in answer.text) == (503, True)
            assert plugin_ids(api, "&stale") == ["ebs0"]
            assert agent.beat().status == 503
        with run() as api:
            agent.api = api
            late = api.call("GET", f"/v1/plugins?type=csi&index={index}&wait=5m")
            assert (late.status, late.json) == (200, [])
            assert agent.beat().status == 409, "which asks for a report"
            assert agent.report({"ebs0": {"node": up()}}).status == 200
            assert plugin_ids(api) == ["ebs0"]
