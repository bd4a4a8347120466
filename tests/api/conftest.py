"""Every test of the API runs in process and against a live server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Api, FakeAgent, serving


@pytest.fixture(params=["in-process", "live"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path, live=request.param == "live") as served:
        yield served


@pytest.fixture
def agent(api: Api) -> FakeAgent:
    return FakeAgent(api)
