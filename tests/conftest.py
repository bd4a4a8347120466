"""Fixtures for every test, and two checks after all of them: leftover processes, leaked secrets."""

from __future__ import annotations

import pytest

from tests.hygiene import end_leftovers, heed_interrupts, mark_run
from tests.hygiene import leaves_no_handle as leaves_no_handle
from tests.hygiene import leaves_no_process as leaves_no_process
from tests.leaks import leaks
from tests.promises import neighbours
from tests.selection import mark_long


def pytest_configure(config: pytest.Config) -> None:
    mark_run()
    heed_interrupts()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_long(items)


def pytest_runtest_setup(item: pytest.Item) -> None:
    neighbours.are_there = not any(map(item.get_closest_marker, ("alone", "soak")))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look for leftovers once, in the process that collects the results of all workers."""
    if hasattr(session.config, "workerinput"):
        return
    folder = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    complaints = {
        "secrets are in what the tests left behind": leaks(folder),
        "processes were left behind by the tests, and are ended now": end_leftovers(),
    }
    for complaint, found in complaints.items():
        if found:
            print(f"\n{complaint}:", *found, sep="\n  ")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
