"""Fixtures for all tests of ACLs."""

from __future__ import annotations

import pytest

from plugind.config.hcl import parse_text
from plugind.config.tree import Place


@pytest.fixture(scope="session", autouse=True)
def _grammar() -> None:
    """Load the grammar once: its first use takes seconds if nothing is cached yet."""
    parse_text("", Place("warm"))
