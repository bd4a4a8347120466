"""plugind as the first process of a PID namespace, as in a container."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Machine, Process, machine
from tests.promises import PATIENCE
from tests.support import eventually

UNSHARED = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
FORKS = """
plugin_types { enabled = ["exec"] }
plugin_type "exec" {
  check "forks" {
    command        = ["/bin/sh", "-c", "sleep 0.1 & echo OK - forked"]
    probe_interval = "100ms"
  }
}
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def start(here: Machine, config: str = "plugin_types { enabled = [] }\n") -> tuple[Process, int]:
    """Start plugind in its own PID namespace; return it and its first process there."""
    file = here.folder / "plugind.hcl"
    file.write_text(
        'data_dir = "data"\nports { http = 0 }\n'
        f"server {{ enabled = true }}\nclient {{ enabled = true }}\n{config}"
    )
    process = here.start("agent", "--config", file, wrapper=UNSHARED)
    eventually(lambda: "event=serving" in process.logged)
    (first,) = process.children
    return process, first


def children(pid: int) -> list[tuple[str, str]]:
    """Return state and name of each child of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        state, parent = rest.split()[:2]
        if int(parent) == pid:
            found.append((state, name))
    return found


def pids(parent: int) -> list[int]:
    """Return the process IDs of a process's children."""
    stats = Path("/proc").glob("[0-9]*/stat")
    return [int(path.parent.name) for path in stats if _parent(path) == parent]


def test_orphans_are_reaped_and_checks_keep_their_exit_statuses(here: Machine) -> None:
    process, first = start(here, FORKS)
    data = here.folder / "data"
    assert (data / "server.pid").read_text() != "1\n", "the first process only looks after others"
    (agent,) = pids(first)
    prober = min(eventually(lambda: pids(agent)))  # orphans may be there already
    seen: set[int] = set()

    def orphans() -> bool:
        """Return whether the agent has adopted orphans of its probers."""
        seen.update(pids(agent))
        return len(seen) > 5

    eventually(orphans, every=0.01)
    assert [name for _, name in children(first)] == ["plugind"]
    eventually(lambda: seen & set(pids(agent)) == {prober})
    assert "ended" not in process.logged, "a prober's status was not taken away"
    os.kill(first, signal.SIGTERM)
    assert process.popen.wait(PATIENCE) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_handed_on_and_the_exit_status_is_that_of_the_child(
    here: Machine, number: signal.Signals
) -> None:
    process, first = start(here)
    os.kill(first, signal.SIGHUP)
    eventually(lambda: "event=reloaded" in process.logged)
    os.kill(first, number)
    assert process.popen.wait(PATIENCE) == 0
    assert "event=stopped" in process.logged


def test_a_start_that_fails_gives_its_status(here: Machine) -> None:
    process = here.start("agent", wrapper=UNSHARED)
    assert process.popen.wait(PATIENCE) == 1
    assert "there is nothing to run" in process.logged


def test_a_killed_child_gives_the_status_that_shells_give(here: Machine) -> None:
    process, first = start(here)
    (child,) = pids(first)
    os.kill(child, signal.SIGKILL)
    assert process.popen.wait(PATIENCE) == 128 + signal.SIGKILL


def _parent(path: Path) -> int:
    try:
        return int(path.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
