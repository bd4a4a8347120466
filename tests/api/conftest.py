"""Every test of the API runs in process and against a live server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Api, FakeAgent, serving

FEW_THREADS = {"server_max_parked": "20", "server_max_reports": "20"}
"""A server starts a thread for each at its start: hundreds by default, which takes a while."""


@pytest.fixture(params=["in-process", "live"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path, live=request.param == "live", **FEW_THREADS) as served:
        yield served


@pytest.fixture(scope="module", params=["in-process", "live"])
def asked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """Return a server that holds nothing, for all tests of a module that only ask."""
    folder = tmp_path_factory.mktemp("asked")
    with serving(folder, live=request.param == "live", **FEW_THREADS) as served:
        yield served


@pytest.fixture
def agent(api: Api) -> FakeAgent:
    return FakeAgent(api)
