from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.csi.drivers import Kit


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder with a short path: socket paths are limited to 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="csi") as path:
        yield Path(path)


@pytest.fixture
def kit() -> Iterator[Callable[..., Kit]]:
    made: list[Kit] = []

    def make(**settings: Any) -> Kit:
        made.append(Kit(**settings))
        return made[-1]

    yield make
    for each in made:
        each.close()
