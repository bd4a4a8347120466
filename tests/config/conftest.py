"""Fixtures for all tests of configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from plugind.config.hcl import parse_text
from plugind.config.tree import Place

Write = Callable[[str, str], Path]


@pytest.fixture(scope="session", autouse=True)
def _grammar() -> None:
    """Load the grammar once: its first use takes seconds if nothing is cached yet."""
    parse_text("", Place("warm"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a file below the test's folder."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write
