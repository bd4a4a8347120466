"""Each test of the API runs in process and against a live server of each kind on SQLite, and in
process on etcd and on SQLite as several processes share it. ``make soak`` also sends the requests
of agents and readers to several servers in turn, on each store that servers can share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from plugind.serve.front import WAITRESS
from tests.api.several import HostProcess, host_processes, several
from tests.store.etcd.members import Member, members
from tests.support import Api, FakeAgent, etcd_block, serving

FEW_THREADS = {"server_max_parked": "20", "server_max_reports": "20"}
"""Settings for few threads: at its start a server starts one per place, by default hundreds, which
takes a while."""


ASGI = ["granian", "uvicorn"]
WAYS = ["in-process", "live", *ASGI, "several"]


OFTEN = {"test_blocking", "test_reads", "test_writes", "test_replies", "test_admission"}
"""The modules whose tests run on every kind of server in ``make test-long``; other modules do so in
``make soak``."""


STORES = ["sqlite", "shared", "etcd"]
OF_SEVERAL = {
    "shared-processes": ["processes"],
    "etcd-members": ["processes", "etcd_members"],
}
"""The stores of several servers, with the fixtures that they need: two processes on one SQLite
database, and three servers on three members of etcd, each preferring a different member. Tests that
start a server of their own do not use these stores: they are about the limits, the start or the end
of one server."""

ON_EACH_STORE = {"test_blocking", "test_reads", "test_writes"}
"""The modules whose tests run on each store in ``make test-long``; other modules do so in ``make
soak``."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on each store, or on SQLite only if it is marked so."""
    alone = metafunc.definition.get_closest_marker("sqlite")
    is_asked_of_several = Path(metafunc.module.__file__).stem in ON_EACH_STORE
    stores = [*STORES, *OF_SEVERAL] if is_asked_of_several else STORES
    metafunc.parametrize("store", stores[:1] if alone else stores, indirect=True, scope="module")


def _given(item: pytest.Item) -> dict[str, object]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def _is_needless(item: pytest.Item) -> bool:
    """Return whether a test repeats others: its server is of a kind that does not depend on the
    store, or is not one of the servers that its store is for."""
    given = _given(item)
    is_of_several = given.get("api", given.get("asked")) == "several"
    if is_of_several is not (given.get("store") in OF_SEVERAL):
        return True
    is_served = given.get("live") is True or any(
        given.get(name) in ("live", *ASGI) for name in ("api", "asked")
    )
    return is_served and given.get("store") in STORES[1:]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most tests on ASGI servers and other stores to ``make soak``, because they take
    minutes."""
    here = Path(__file__).parent
    items[:] = [item for item in items if item.path.parent != here or not _is_needless(item)]
    ours = [item for item in items if item.path.parent == here]
    for item in ours:
        given = _given(item)
        on_asgi = any(given.get(name) in ASGI for name in ("api", "asked"))
        is_in_process = given.get("api", given.get("asked")) == "in-process"
        each_time = item.path.stem in ON_EACH_STORE and is_in_process
        elsewhere = given.get("store") not in (None, STORES[0]) and not each_time
        if elsewhere or (on_asgi and item.path.stem not in OFTEN):
            item.add_marker(pytest.mark.soak)


@pytest.fixture(scope="session")
def etcd_address() -> Iterator[str]:
    """Run an etcd of one member for all tests of a worker."""
    with members() as (member,):
        yield member.address


@pytest.fixture(scope="session")
def etcd_members() -> Iterator[list[Member]]:
    """Run an etcd of three members for all tests of a worker."""
    with members(3) as found:
        yield found


@pytest.fixture(scope="session")
def processes() -> Iterator[list[HostProcess]]:
    """Run processes for three servers, for all tests of a worker."""
    with host_processes(3) as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """Choose the store for every server that a test starts in its process."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "shared":
            patch.setenv("TEST_SHARED", "1")
        elif request.param == "etcd":
            patch.setenv("TEST_ETCD", request.getfixturevalue("etcd_address"))
        elif request.param in OF_SEVERAL:
            for name in OF_SEVERAL[request.param]:  # before a test begins, because they outlast it
                request.getfixturevalue(name)
        yield request.param


@contextmanager
def serve(request: pytest.FixtureRequest, folder: Path) -> Iterator[Api]:
    """Serve from a folder in the way that a fixture's parameter names."""
    way = request.param
    if way == "several":
        served: AbstractContextManager[Api] = _several(request, folder)
    else:
        http = WAITRESS if way == "live" else way
        served = serving(folder, live=way != "in-process", http=http, **FEW_THREADS)
    with served as api:
        yield api


def _several(request: pytest.FixtureRequest, folder: Path) -> AbstractContextManager[Api]:
    """Serve from a folder with several servers."""
    found = request.getfixturevalue("processes")
    if request.getfixturevalue("store") == "shared-processes":
        return several(found[:2], [("", folder)] * 2, **FEW_THREADS)
    addresses = [each.address for each in request.getfixturevalue("etcd_members")]
    places = []
    for number in range(len(found)):
        own = folder / f"server-{number}"
        own.mkdir()
        places.append((etcd_block(folder, *addresses[number:], *addresses[:number]), own))
    return several(found, places, **FEW_THREADS)


@pytest.fixture(params=WAYS)
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    with serve(request, tmp_path) as served:
        yield served


@pytest.fixture(scope="module", params=WAYS)
def asked(
    request: pytest.FixtureRequest, store: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """Return a server that holds nothing, shared by all tests of a module that only read."""
    with serve(request, tmp_path_factory.mktemp("asked")) as served:
        yield served


@pytest.fixture
def agent(api: Api) -> FakeAgent:
    return FakeAgent(api)
