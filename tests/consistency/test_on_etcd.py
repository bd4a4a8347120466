"""The same runs on three servers over three members of etcd."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.consistency import test_failover as failover
from tests.consistency.on_etcd import on_etcd
from tests.consistency.rigs import TTL
from tests.consistency.running import drive, is_sound
from tests.consistency.test_runs import MANY, SEED, SOAK, soak_seed


@contextmanager
def fleet(folder: Path) -> Iterator[failover.Fleet]:
    """Run an agent and a driver in front of the servers."""
    servers = on_etcd(folder, ttl=f"{failover.TTL:g}s")
    with servers as rig, failover.fleet(folder / "fleet", rig) as found:
        yield found


def test_three_servers_over_three_members(tmp_path: Path) -> None:
    with on_etcd(tmp_path, ttl=TTL) as rig:
        is_sound(drive(rig, SEED, faults=6))


@pytest.mark.alone
def test_a_node_whose_server_dies_fails_over_without_showing_as_down(tmp_path: Path) -> None:
    with fleet(tmp_path) as found:
        failover.fails_over(found)


@pytest.mark.alone
def test_two_servers_see_the_same_driver_die_within_a_second(tmp_path: Path) -> None:
    with fleet(tmp_path) as found:
        failover.see_it_together(found)


@pytest.mark.soak
@pytest.mark.timeout(3 * SOAK)
def test_three_servers_over_three_members_for_minutes(tmp_path: Path) -> None:
    with on_etcd(tmp_path, ttl="5s") as rig:
        is_sound(drive(rig, soak_seed(), faults=MANY, seconds=SOAK, sleepers=2))
