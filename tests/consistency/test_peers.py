"""Members of etcd that the proxies between them separate."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from plugind.store.etcd.rpc_pb2 import RangeRequest, StatusRequest, StatusResponse
from plugind.store.etcd.rpc_pb2_grpc import KVStub, MaintenanceStub
from tests.consistency.peers import PeerLinks
from tests.consistency.proxy import Proxy, proxies
from tests.promises import eventually
from tests.store.etcd.members import Member, members


@pytest.fixture
def parted() -> Iterator[tuple[PeerLinks, list[Member]]]:
    with proxies() as links:
        peers = PeerLinks(links)
        with members(3, front=peers.front, is_ready=False) as found:
            peers.members = found
            for each in found:
                each.wait()
            yield peers, found


def status(member: Member) -> StatusResponse:
    with grpc.insecure_channel(member.address) as channel:
        return MaintenanceStub(channel).Status(StatusRequest(), timeout=5)


def reads(member: Member) -> bool:
    """Return whether a member answers a read that requires a majority."""
    with grpc.insecure_channel(member.address) as channel:
        try:
            KVStub(channel).Range(RangeRequest(key=b"x"), timeout=1)
        except grpc.RpcError:
            return False
    return True


@pytest.mark.parametrize("way", [Proxy.cut, Proxy.stall])
def test_a_leader_without_its_peers_is_replaced_and_follows_when_they_are_back(
    way: object, parted: tuple[PeerLinks, list[Member]]
) -> None:
    peers, found = parted
    leader = eventually(lambda: status(found[0]).leader)
    (alone,) = (each for each in found if status(each).header.member_id == leader)
    others = [each for each in found if each is not alone]
    links = [link for each in others for link in peers.between(alone.name, each.name)]
    for each in links:
        way(each)  # type: ignore[operator]
    eventually(lambda: {status(each).leader for each in others}.isdisjoint({0, leader}))
    assert all(eventually(lambda each=each: reads(each)) for each in others)
    assert not reads(alone)
    for each in links:
        each.heal()
    assert eventually(lambda: reads(alone))


def test_a_majority_that_holds_together_goes_on_where_one_link_is_cut(
    parted: tuple[PeerLinks, list[Member]],
) -> None:
    """Let the third member be without a leader, as it may not reach the current one."""
    peers, found = parted
    for each in peers.between("m0", "m1"):
        each.cut()
    eventually(lambda: sum(map(reads, found)) >= 2)
    for each in peers.between("m0", "m1"):
        each.heal()
    eventually(lambda: all(map(reads, found)))
