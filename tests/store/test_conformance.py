"""Every guarantee of the store contract on the embedded store and on a deliberately different one;
and faulty stores, which each break some."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugind.store.base import Store
from plugind.store.sqlite import SqliteStore
from plugind.testing.stores import CASES, Case, Rig, following
from tests.store.faults import FAULTS
from tests.store.memory import MemoryStore

STORES: list[type[Store]] = [SqliteStore, MemoryStore]


@pytest.mark.parametrize("kind", STORES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_store_keeps_the_contract(case: Case, kind: type[Store], tmp_path: Path) -> None:
    with Rig(kind, tmp_path) as rig:
        case(rig)


def test_there_are_many_cases() -> None:
    assert len({str(case) for case in CASES}) == len(CASES) >= 80


@pytest.mark.parametrize("kind", STORES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_caught(
    fault: Callable[..., Any], kind: type[Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that each fault breaks the cases that it names."""
    monkeypatch.setattr(following, "PATIENCE", 2.0)  # for changes that never come
    for number, name in enumerate(fault.breaks):
        (case,) = (case for case in CASES if case.name == name)
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(Exception), Rig(fault.around(kind), folder) as rig:  # noqa: B017, PT011
            case(rig)
