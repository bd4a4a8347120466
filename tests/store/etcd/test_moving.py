"""Moving a server's data from SQLite to etcd and back."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from plugind.store.sqlite import SqliteStore
from plugind.store.sqlite.log import LogLimits
from tests.store.etcd.conftest import FreshEtcdStore
from tests.store.etcd.members import Member
from tests.store.moving import Place, check_moving, check_there_and_back

PHASES = (Phase.explicit, Phase.generate)
"""Failing examples are not shrunk, because that takes minutes with a real etcd."""


@contextmanager
def places(etcd: Member) -> Iterator[tuple[Place, Place]]:
    with tempfile.TemporaryDirectory() as folder:
        here, there = Path(folder) / "sqlite", Path(folder) / "etcd"
        here.mkdir()
        there.mkdir()
        given = {"endpoints": [etcd.address], "prefix": f"test/{uuid.uuid4().hex[:8]}"}
        known = FreshEtcdStore.settings_schema().load(given)
        yield Place(SqliteStore, LogLimits(), here), Place(FreshEtcdStore, known, there)


@pytest.mark.parametrize("is_from_etcd", [False, True])
@settings(max_examples=6, deadline=None, phases=PHASES)
@given(data=st.data(), replaces=st.booleans())
def test_what_is_imported_is_exported_again(
    etcd: Member, is_from_etcd: bool, data: st.DataObject, replaces: bool
) -> None:
    with places(etcd) as (sqlite, there):
        one, other = (there, sqlite) if is_from_etcd else (sqlite, there)
        check_moving(one, other, data, replaces=replaces)


@settings(max_examples=6, deadline=None, phases=PHASES)
@given(st.data())
def test_there_and_back_indexes_only_grow(etcd: Member, data: st.DataObject) -> None:
    with places(etcd) as (sqlite, there):
        check_there_and_back(sqlite, there, data)
