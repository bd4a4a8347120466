"""A server in process with a few plugins, for tests of what pages show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Api, FakeAgent, serving


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path, live=False) as served:
        yield served


@pytest.fixture
def agent(api: Api) -> FakeAgent:
    return FakeAgent(api)
