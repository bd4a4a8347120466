"""One etcd for all tests of a worker, and rigs with separate prefixes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from plugind.model import Change, Committed, HistoryQuery, StoredTransition
from plugind.store.base import Outcome, Store
from plugind.store.etcd import EtcdStore
from plugind.testing.stores import Rig
from tests.promises import PATIENCE
from tests.store.etcd.members import Member, members


@pytest.fixture(scope="session")
def etcd() -> Iterator[Member]:
    """Run an etcd of one member."""
    with members() as (member,):
        yield member


class FreshEtcdStore(EtcdStore):
    """A store that first catches up with the commits of all others on each look. The real store
    reads only what its watch has received, and ``newest`` returns the newest index in etcd."""

    def _refresh(self) -> None:
        newest = self.newest()
        assert self.wait(newest - 1, PATIENCE)

    def read(self, after: int, limit: int = 256) -> Sequence[Committed]:
        self._refresh()
        return super().read(after, limit)

    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        outcomes = super().commit(changes)
        self._refresh()
        return outcomes

    def history(self, query: HistoryQuery) -> Sequence[StoredTransition]:
        self._refresh()
        return super().history(query)


class EtcdRig(Rig):
    """A rig that gives each folder its own prefix."""

    member: Member
    prefixes: dict[Path, str]

    def settings(self, **limits: Any) -> Any:
        prefix = self.prefixes.setdefault(self.data_dir, f"test/{uuid.uuid4().hex[:8]}")
        given = {"endpoints": [self.member.address], "prefix": prefix, **limits}
        return self.kind.settings_schema().load(given)

    def elsewhere(self, name: str) -> Rig:
        folder = self.data_dir / name
        folder.mkdir()
        return type(self)(self.kind, folder)


@pytest.fixture
def rig_on(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Yield a function that makes rigs on a member; close at the end what they opened."""
    rigs: list[Rig] = []

    def make(member: Member, kind: type[Store] = FreshEtcdStore, name: str = "data") -> Rig:
        made = type("RigOnMember", (EtcdRig,), {"member": member, "prefixes": {}})
        folder = tmp_path / name
        folder.mkdir()
        rigs.append(made(kind, folder))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(rig_on: Callable[..., Rig], etcd: Member) -> Rig:
    return rig_on(etcd)
