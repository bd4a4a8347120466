"""After all tests: no secret in what they left behind."""

from __future__ import annotations

import pytest

from tests.leaks import leaks


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Looks once, in the process that gathers what others ran."""
    if hasattr(session.config, "workerinput"):
        return
    folder = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    if found := leaks(folder):
        print("\nsecrets stand in what the tests left behind:", *found, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
