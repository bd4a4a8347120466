"""Running programs that hang, flood, fork, or cannot be started, all of them real."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from plugind.errors import ProbeFailed
from plugind.toolbox.programs import Ended, Program
from tests.exec.conftest import Script
from tests.processes import alive
from tests.promises import PATIENCE, SOON, promised
from tests.support import eventually

ROOT = Path(__file__).parent.parent.parent


def shell(text: str, maximum: int = 1_000, **environ: str) -> Program:
    return Program(["/bin/sh", "-c", text], environ, maximum=maximum)


def fails(program: Program, timeout: float = 20.0) -> str:
    with pytest.raises(ProbeFailed) as caught:
        program.run(timeout)
    return str(caught.value)


def test_the_output_and_exit_status() -> None:
    program = shell("cat; echo bad >&2; exit 3")
    assert program.run(20, b"in\n") == Ended(3, b"in\n", b"bad\n")
    assert program.run(20) == Ended(3, b"", b"bad\n"), "it has no input, and is run again"
    assert Program(["true"], {}, maximum=0).run(20) == Ended(0, b"", b""), "found in PATH"


def test_a_program_that_a_signal_ends() -> None:
    assert shell("kill -9 $$").run(20).signal == "SIGKILL"
    assert shell("kill -40 $$").run(20).signal == "signal 40"
    assert shell("exit 9").run(20).signal == ""


def test_it_gets_path_and_its_own_variables_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUGIND_TOKEN", "secret")
    printed = Program(["/usr/bin/env"], {"LC_ALL": "C"}, maximum=10_000).run(20).output.decode()
    assert sorted(printed.splitlines()) == ["LC_ALL=C", f"PATH={os.environ['PATH']}"]
    assert shell("pwd").run(20).output == b"/\n"


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = shell(f"sleep 600 & echo $! $$ > {pids}; sleep 600")
    with promised(SOON):
        assert fails(program, 0.5) == "it did not end within 500ms and was killed"
    eventually(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))


def test_children_of_a_program_are_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    assert shell(f"sleep 600 & echo $! > {pid}; echo done").run(PATIENCE).output == b"done\n"
    eventually(lambda: not alive(int(pid.read_text())))


def test_nothing_outlives_the_process_that_runs_it(tmp_path: Path) -> None:
    """End a program when its runner is killed, as may happen to an agent's prober."""
    pids = tmp_path / "pids"
    code = (
        "import sys; from plugind.toolbox.programs import Program;"
        "Program(['/bin/sh', '-c', sys.argv[1]], {}, maximum=9).run(600)"
    )
    text = f"sleep 600 & echo $! $$ >> {pids}; exec sleep 600"
    with subprocess.Popen([sys.executable, "-c", code, text], cwd=ROOT) as runner:
        eventually(lambda: pids.exists() and pids.read_text().endswith("\n"))
        runner.kill()
    eventually(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))


def test_a_program_that_closes_its_output_may_go_on() -> None:
    assert shell("echo x; exec >&- 2>&-; sleep 0.2; exit 2").run(20) == Ended(2, b"x\n", b"")


@pytest.mark.parametrize("where", ["", ">&2"])
def test_a_flood_is_cut_off(where: str) -> None:
    assert fails(shell(f"yes {where}")) == "it printed more than 1,000 bytes"


def test_the_limit_of_output() -> None:
    text = "head -c 200000 /dev/zero"
    assert len(shell(text, maximum=200_000).run(20).output) == 200_000
    assert "199,999" in fails(shell(text, maximum=199_999))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: str(path / "none"), "no such file or directory"),
        (lambda path: str(path), "permission denied"),
        (lambda path: made(path / "data", "x", 0o644), "permission denied"),
        (lambda path: made(path / "text", "echo this is no program", 0o755), "exec format error"),
        (
            lambda path: made(path / "lost", "#!/none/such\n", 0o755),
            "the interpreter that it asks for is missing",
        ),
    ],
)
def test_programs_that_cannot_be_started(
    tmp_path: Path, make: Callable[[Path], str], reason: str
) -> None:
    path = make(tmp_path)
    assert fails(Program([path], {}, maximum=9)) == f"cannot start {path}: {reason}"


def made(path: Path, text: str, mode: int) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_one_that_cannot_be_killed_is_not_started_again(script: Script, tmp_path: Path) -> None:
    """Wait with the next start while an earlier program has not ended, as on a dead disk."""
    entered, program = tmp_path / "entered", shell(f"echo >> {tmp_path}/entered; sleep 600")
    thread = threading.Thread(target=lambda: fails(program, 3.0))
    thread.start()
    # It may write before the thread that started it goes on.
    eventually(lambda: entered.exists() and vars(program)["_child"] is not None)
    assert "of an earlier probe was killed and does not end" in fails(program)
    thread.join()
    assert entered.read_text() == "\n"


def test_no_descriptor_is_left_open() -> None:
    program, none = shell("sleep 9"), Program(["/none"], {}, maximum=1)
    fails(none)
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        fails(program, 0.05)
        fails(none)
        shell("echo").run(20)
    assert len(os.listdir("/proc/self/fd")) == len(before)
