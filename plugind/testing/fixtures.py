"""The conformance suite as fixtures of pytest, for a plugin type's own tests.

Run pytest with ``-p plugind.testing.fixtures``, say by whose verdict as ``plugind_type``, and hold
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
    """The name of the plugin type under test; every suite has its own."""
    raise NotImplementedError("write a fixture plugind_type that returns your plugin type's name")


@pytest.fixture(scope="session")
def plugind_block() -> Mapping[str, Any] | None:
    """Its settings while its prober is on trial; best are some with which it finds something."""
    return None


@pytest.fixture(scope="session")
def plugind_subject(
    plugind_type: str, plugind_block: Mapping[str, Any] | None
) -> Iterator[Subject]:
    """The plugin type that is looked at."""
    with Subject(plugind_type, plugind_block) as subject:
        yield subject


@pytest.fixture(params=RULES, ids=str)
def plugind_verdict(request: pytest.FixtureRequest, plugind_subject: Subject) -> Verdict:
    """How it stands by a rule; a test that asks for it is run for each rule there is."""
    return plugind_subject.judge(request.param)


@pytest.fixture
def plugind_server() -> Iterator[LiveServer]:
    """A live server, for ``run_agent`` to report to."""
    with live_server() as server:
        yield server
