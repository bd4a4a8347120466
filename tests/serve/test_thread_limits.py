"""How many threads the process may have, given the limits that apply to it."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from plugind.serve import thread_limits
from plugind.serve.thread_limits import why_too_many


@pytest.fixture(autouse=True)
def _no_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the limits of the machine that runs the test."""
    monkeypatch.setattr(thread_limits, "_CGROUP", tmp_path / "no file")
    limits = {resource.RLIMIT_STACK: (8 * 2**20, 8 * 2**20)}
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits.get(which, (-1, -1)))


def group(folder: Path, most: str, current: int) -> None:
    """Write the files of a control group."""
    folder.mkdir(parents=True)
    (folder / "pids.max").write_text(f"{most}\n")
    (folder / "pids.current").write_text(f"{current}\n")


def test_without_limits_any_number_may_be() -> None:
    assert why_too_many(5_000) == ""


def test_stacks_that_do_not_fit_into_the_address_space() -> None:
    assert "address space" in why_too_many(2**60 // (8 * 2**20))


@pytest.mark.parametrize("line", ["0::/system.slice/plugind.service", "8:pids:/a/b"])
def test_a_control_group_or_one_around_it_allows_few(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str
) -> None:
    top, file = tmp_path / "top", tmp_path / "cgroup"
    file.write_text(f"3:cpu:/elsewhere\n{line}\n")
    monkeypatch.setattr(thread_limits, "_CGROUP", file)
    monkeypatch.setattr(thread_limits, "_HIERARCHIES", {"": top, "pids": top})
    outer = top / line.rpartition(":")[2].strip("/").partition("/")[0]
    group(outer, "1000", 900)
    group(top / line.rpartition(":")[2].strip("/"), "max", 30)
    assert why_too_many(100) == ""
    assert why_too_many(101).startswith(f"100 more may be there by {outer}/pids.max")


@pytest.mark.parametrize(("user", "reason"), [(1000, "the user may have 64 (ulimit -u)"), (0, "")])
def test_the_limit_of_a_users_tasks_does_not_hold_for_root(
    monkeypatch: pytest.MonkeyPatch, user: int, reason: str
) -> None:
    before = resource.getrlimit
    limited = {resource.RLIMIT_NPROC: (64, 64)}
    monkeypatch.setattr(resource, "getrlimit", lambda one: limited.get(one) or before(one))
    monkeypatch.setattr("os.geteuid", lambda: user)
    assert why_too_many(65) == reason
    assert why_too_many(64) == ""
