"""What all tests of ACLs share."""

from __future__ import annotations

import pytest

from plugind.config.hcl import parse_text
from plugind.config.tree import Place


@pytest.fixture(scope="session", autouse=True)
def _grammar() -> None:
    """Where nothing is cached yet, the grammar's first use takes seconds."""
    parse_text("", Place("warm"))
