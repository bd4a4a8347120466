"""The conformance suite as fixtures of pytest, for a plugin type's own tests.

Run pytest with ``-p plugind.testing.fixtures``, name the type with ``plugind_type``, and check
every rule in one test::

    @pytest.fixture(scope="session")
    def plugind_type():
        return "lamp"

    def test_it_keeps_the_rules(plugind_verdict):
        assert plugind_verdict.passed, str(plugind_verdict)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from plugind.testing.conformance import RULES
from plugind.testing.rules import Subject, Verdict
from plugind.testing.serving import LiveServer, live_server


@pytest.fixture(scope="session")
def plugind_type() -> str:
    """Return the name of the plugin type under test; every suite overrides this fixture."""
    raise NotImplementedError("write a fixture plugind_type that returns your plugin type's name")


@pytest.fixture(scope="session")
def plugind_block() -> Mapping[str, Any] | None:
    """Return the settings for the trial of the prober; choose some with which it finds a
    target."""
    return None


@pytest.fixture(scope="session")
def plugind_subject(
    plugind_type: str, plugind_block: Mapping[str, Any] | None
) -> Iterator[Subject]:
    """Yield the plugin type under test."""
    with Subject(plugind_type, plugind_block) as subject:
        yield subject


@pytest.fixture(params=RULES, ids=str)
def plugind_verdict(request: pytest.FixtureRequest, plugind_subject: Subject) -> Verdict:
    """Return the verdict of one rule; a test that uses this fixture is run once for each rule."""
    return plugind_subject.check(request.param)


@pytest.fixture
def plugind_server() -> Iterator[LiveServer]:
    """Yield a live server, for ``run_agent`` to report to."""
    with live_server() as server:
        yield server
