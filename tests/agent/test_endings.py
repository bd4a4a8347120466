"""How processes end: probers end with their agent, child processes with their prober or check.

All are real processes. They get SIGKILL if nothing may depend on an orderly end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from plugind.agent import kernel
from plugind.agent.supervisor.orphans import LOOK_INTERVAL
from tests.processes import Machine, Process, alive, machine
from tests.promises import PATIENCE, promised
from tests.support import eventually

ROGUE = str(Path(__file__).with_name("rogue.py"))
ROOT = Path(__file__).parent.parent.parent


class Rogue:
    """The small agent of ``rogue.py``, and the processes below it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, ROGUE, "agent", str(folder)]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        self.agent = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environ)

    def pids(self, name: str) -> list[int]:
        try:
            return [int(pid) for pid in (self.folder / name).read_text().split()]
        except OSError:
            return []

    def all_run(self) -> bool:
        pids = [self.pids(name)[-1:] for name in ("prober", "grouped", "escaped")]
        return all(pids) and all(alive(each[0]) for each in pids)

    def have_ended(self, *names: str) -> bool:
        return not any(alive(pid) for name in names for pid in self.pids(name))

    def close(self) -> None:
        self.agent.kill()
        self.agent.communicate()
        for name in ("prober", "grouped", "escaped"):
            for pid in filter(alive, self.pids(name)):
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def rogue(tmp_path: Path) -> Iterator[Rogue]:
    made = Rogue(tmp_path)
    eventually(made.all_run)
    yield made
    made.close()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


@pytest.mark.alone
def test_a_prober_that_holds_the_interpreter_ends_with_a_killed_agent(rogue: Rogue) -> None:
    with promised(2):
        rogue.agent.kill()
        eventually(lambda: rogue.have_ended("prober", "grouped"))


@pytest.mark.alone
def test_it_ends_with_an_agent_that_ends_in_good_order(rogue: Rogue) -> None:
    with promised(8):
        rogue.agent.communicate(timeout=PATIENCE)
    assert rogue.agent.returncode == 0
    with promised(1):
        eventually(lambda: rogue.have_ended("prober", "grouped", "escaped"))


@pytest.mark.alone
def test_children_of_a_killed_prober_end_with_it(rogue: Rogue) -> None:
    (prober,) = rogue.pids("prober")
    before = rogue.pids("grouped") + rogue.pids("escaped")
    assert len(before) == 2
    os.kill(prober, signal.SIGKILL)
    with promised(2 + 3 * LOOK_INTERVAL):
        eventually(lambda: not any(map(alive, before)))
    eventually(lambda: rogue.pids("prober") != [prober])
    assert rogue.agent.poll() is None


def test_a_prober_whose_agent_ended_before_it_asked_for_its_end(tmp_path: Path) -> None:
    """End a prober whose parent is not the agent that wrote its input, even if the input is
    complete."""
    orders = b'{"settings": {"folder": "%b"}, "before": null, "shown": [], "agent": 1}\n'
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, ROGUE, "prober"], stdin=pipe, env=environ) as prober:
        assert prober.stdin is not None
        prober.stdin.write(orders % bytes(tmp_path))
        prober.stdin.flush()
        assert prober.wait(PATIENCE) == 0
    assert not (tmp_path / "prober").exists()


DAEMON = """#!/bin/sh
if [ ! -e {0} ]; then
  echo x > {0}
  setsid sh -c 'echo $$ > {1}; exec sleep 600' &
fi
sleep 0.1
echo OK
"""
CHECKS = """
  probe_interval = "200ms"
  check "daemon" {{
    command = ["{}"]
  }}
  check "status" {{
    command = ["/bin/sh", "-c", "(exec setsid true) & exit 1"]
  }}
"""


def starting_a_daemon(here: Machine) -> tuple[Process, int]:
    """Start an agent whose check starts a daemon outside its group; return both (one by ID)."""
    once, pid, script = (here.folder / name for name in ("once", "pid", "script"))
    script.write_text(DAEMON.format(once, pid))
    script.chmod(0o755)
    agent = here.agent_with("vm", "http://127.0.0.1:1", "exec", CHECKS.format(script))
    eventually(lambda: pid.exists() and pid.read_text().strip())
    return agent, int(pid.read_text())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_left_the_group_of_its_check(here: Machine, number: signal.Signals) -> None:
    """Expect the agent to end it on SIGTERM; after SIGKILL only the unit's cgroup ends it."""
    agent, escaped = starting_a_daemon(here)
    assert alive(escaped)
    probers = agent.children
    if number == signal.SIGTERM:
        assert agent.stop() == 0
        assert not alive(escaped)
    else:
        agent.kill()
        os.kill(escaped, signal.SIGKILL)
    eventually(lambda: not any(map(alive, probers)))


def test_an_orphan_of_a_check_ends_while_the_agent_lives(here: Machine) -> None:
    agent, escaped = starting_a_daemon(here)
    eventually(lambda: not alive(escaped))
    # The agent adopts an orphan of its other check for a moment, five times a second.
    (prober,) = eventually(lambda: len(found := agent.children) == 1 and found)
    assert "ended" not in agent.logged, "the prober's status was not taken away"
    zombies = Path(f"/proc/{agent.pid}/task/{agent.pid}/children")
    eventually(lambda: len(zombies.read_text().split()) <= 1 + 2 * 5)
    assert alive(prober)
    assert agent.stop() == 0


def test_other_children_keep_their_exit_statuses(tmp_path: Path) -> None:
    """Leave alone the programs that a package starts in the server's process; none is an orphan."""
    code = (
        "import subprocess, sys, time\n"
        "from plugind.agent.supervisor.orphans import LOOK_INTERVAL, Orphans\n"
        "orphans = Orphans(lambda: [], grace=0.0)\n"
        "orphans.start()\n"
        "quick = subprocess.Popen(['/bin/sh', '-c', 'exit 7'])\n"
        "slow = subprocess.Popen(['/bin/sh', '-c', 'sleep 2; exit 8'])\n"
        "time.sleep(4 * LOOK_INTERVAL)\n"
        "print(quick.wait(), slow.wait())\n"
        "orphans.stop()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "7 8\n", done.stderr


def test_prctl_says_why_not() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        kernel._prctl(9999, 0)
