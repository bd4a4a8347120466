"""structlog runs without rich in plugind's own processes, and only in those."""

from __future__ import annotations

import subprocess
import sys

import pytest

SHOWN = "import structlog, sys\nprint(structlog.dev.rich is not None, 'rich' in sys.modules)\n"


def run(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{SHOWN}"],
        capture_output=True,
        text=True,
        env={"PLUGIND_CONFIG": "/nowhere", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("module", ["cli.agent", "cli.worker", "asgi", "agent.prober.child"])
def test_a_process_of_plugind_has_no_rich(module: str) -> None:
    assert run(f"import plugind.{module}") == ["False", "False"]


def test_a_server_of_wsgi_has_no_rich() -> None:
    """Import the module, which starts the server, with a configuration that does not exist."""
    code = "try:\n    import plugind.wsgi\nexcept SystemExit as end:\n    assert end.code == 3"
    assert run(code) == ["False", "False"]


@pytest.mark.parametrize("module", ["plugin_type", "fields", "toolbox", "logs", "testing"])
def test_a_program_that_uses_plugind_has_the_whole_structlog(module: str) -> None:
    assert run(f"import plugind.{module}") == ["True", "True"]
