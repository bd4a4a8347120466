"""Every test of the API runs in process, and against a live server of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plugind.serve.front import WAITRESS
from tests.support import Api, FakeAgent, serving

FEW_THREADS = {"server_max_parked": "20", "server_max_reports": "20"}
"""A server starts a thread for each at its start: hundreds by default, which takes a while."""


ASGI = ["granian", "uvicorn"]
WAYS = ["in-process", "live", *ASGI]


OFTEN = {"test_blocking", "test_reads", "test_writes", "test_replies", "test_admission"}
"""The modules whose tests run on every kind of server each time; the others do in long runs."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most tests on the servers of ASGI to the long runs: they take minutes."""
    for item in items:
        given = item.callspec.params if hasattr(item, "callspec") else {}
        is_ours = item.path.parent == Path(__file__).parent and item.path.stem not in OFTEN
        if is_ours and any(given.get(name) in ASGI for name in ("api", "asked")):
            item.add_marker(pytest.mark.soak)


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
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """Return a server that holds nothing, for all tests of a module that only ask."""
    folder = tmp_path_factory.mktemp("asked")
    with serve(folder, request.param) as served:
        yield served


@pytest.fixture
def agent(api: Api) -> FakeAgent:
    return FakeAgent(api)
