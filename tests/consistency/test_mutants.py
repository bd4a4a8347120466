"""The checker detects each of the faults that it is made for, and reports nothing otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugind.testing.stores import Wrapped
from tests.consistency.checker import report
from tests.consistency.mutants import MUTANTS, ON_ETCD, Compacts, Late, Mutant
from tests.consistency.rigs import in_process
from tests.consistency.running import drive, is_sound
from tests.store.etcd.members import members
from tests.support import etcd_block

SEED = 7


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_mutant_is_found(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.patch(monkeypatch)
    with in_process(tmp_path, mutant.servers, wrap=mutant.wrap, ttl=mutant.ttl) as rig:
        found = drive(rig, SEED, writes=mutant.writes, sleepers=mutant.sleepers)
    print(report(found))
    assert mutant.finds <= {each.kind for each in found}


@pytest.mark.parametrize("mutant", ON_ETCD, ids=str)
def test_a_mutant_is_found_on_etcd(
    mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant.patch(monkeypatch)
    with members() as (member,):
        config = etcd_block(tmp_path, member.address)
        with in_process(tmp_path, mutant.servers, wrap=mutant.wrap, config=config) as rig:
            found = drive(rig, SEED, writes=mutant.writes)
    print(report(found))
    assert mutant.finds <= {each.kind for each in found}


@pytest.mark.parametrize("store", [Compacts, Late])
def test_a_sound_store_is_found_sound(store: type[Wrapped], tmp_path: Path) -> None:
    """Run on a store whose log is compacted continually, or whose followers are late."""
    with in_process(tmp_path, 2, wrap=store.around) as rig:
        is_sound(drive(rig, SEED, writes=90))


def test_nodes_that_sleep_go_down_and_come_back(tmp_path: Path) -> None:
    with in_process(tmp_path, 2, wrap=lambda kind: kind, ttl="1s") as rig:
        is_sound(drive(rig, SEED, writes=300, sleepers=3))
