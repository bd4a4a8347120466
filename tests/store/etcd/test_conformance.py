"""Every guarantee of the store contract on a real etcd; and faulty stores that each break some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from plugind.testing.stores import CASES, Case, Rig, following
from tests.store.etcd.conftest import FreshEtcdStore
from tests.store.etcd.members import Member
from tests.store.faults import FAULTS


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_store_keeps_the_contract(case: Case, rig: Rig) -> None:
    case(rig)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_caught(
    fault: Callable[..., Any],
    etcd: Member,
    rig_on: Callable[..., Rig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Check that each fault breaks the cases that it names."""
    monkeypatch.setattr(following, "PATIENCE", 2.0)  # for changes that never come
    for number, name in enumerate(fault.breaks):
        (case,) = (case for case in CASES if case.name == name)
        rig = rig_on(etcd, fault.around(FreshEtcdStore), str(number))
        with pytest.raises(Exception):  # noqa: B017, PT011
            case(rig)
