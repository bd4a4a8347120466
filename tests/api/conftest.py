"""Every test of the API runs in process and against a live server of each kind on SQLite, and in
process on SQLite as several processes share it and on etcd."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plugind.serve.front import WAITRESS
from tests.store.etcd.members import members
from tests.support import Api, FakeAgent, serving

FEW_THREADS = {"server_max_parked": "20", "server_max_reports": "20"}
"""A server starts a thread for each at its start: hundreds by default, which takes a while."""


ASGI = ["granian", "uvicorn"]
WAYS = ["in-process", "live", *ASGI]


OFTEN = {"test_blocking", "test_reads", "test_writes", "test_replies", "test_admission"}
"""The modules whose tests run on every kind of server each time; the others do in long runs."""


STORES = ["sqlite", "shared", "etcd"]
ON_EACH_STORE = {"test_blocking", "test_reads", "test_writes"}
"""The modules whose tests run on each store each time; the others do in long runs."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on each store, but on SQLite alone where it is marked so."""
    alone = metafunc.definition.get_closest_marker("sqlite")
    metafunc.parametrize("store", STORES[:1] if alone else STORES, indirect=True, scope="module")


def _given(item: pytest.Item) -> dict[str, object]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def _is_needless(item: pytest.Item) -> bool:
    """Return whether a test differs from others in a server that the store has no part in."""
    given = _given(item)
    is_served = given.get("live") is True or any(
        given.get(name) in ("live", *ASGI) for name in ("api", "asked")
    )
    return is_served and given.get("store") in STORES[1:]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most tests on the servers of ASGI and on other stores to the long runs: they take
    minutes."""
    here = Path(__file__).parent
    items[:] = [item for item in items if item.path.parent != here or not _is_needless(item)]
    ours = [item for item in items if item.path.parent == here]
    for item in ours:
        given = _given(item)
        on_asgi = any(given.get(name) in ASGI for name in ("api", "asked"))
        is_in_process = given.get("api", given.get("asked")) == "in-process"
        each_time = item.path.stem in ON_EACH_STORE and is_in_process
        elsewhere = given.get("store") in STORES[1:] and not each_time
        if elsewhere or (on_asgi and item.path.stem not in OFTEN):
            item.add_marker(pytest.mark.soak)


@pytest.fixture(scope="session")
def etcd_address() -> Iterator[str]:
    """Run an etcd of one member for all tests of a worker."""
    with members() as (member,):
        yield member.address


@pytest.fixture(scope="module", autouse=True)
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """Choose the store of every server that a test starts in its process."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "shared":
            patch.setenv("TEST_SHARED", "1")
        elif request.param == "etcd":
            patch.setenv("TEST_ETCD", request.getfixturevalue("etcd_address"))
        yield request.param


@contextmanager
def serve(folder: Path, way: str) -> Iterator[Api]:
    """Serve from a folder in one of the ways."""
    http = WAITRESS if way == "live" else way
    with serving(folder, live=way != "in-process", http=http, **FEW_THREADS) as served:
        yield served


@pytest.fixture(params=WAYS)
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    with serve(tmp_path, request.param) as served:
        yield served


@pytest.fixture(scope="module", params=WAYS)
def asked(
    request: pytest.FixtureRequest, store: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """Return a server that holds nothing, for all tests of a module that only ask."""
    folder = tmp_path_factory.mktemp("asked")
    with serve(folder, request.param) as served:
        yield served


@pytest.fixture
def agent(api: Api) -> FakeAgent:
    return FakeAgent(api)
