"""``plugind reload``, the files by which it finds a process, and mistakes that prevent a start."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugind.cli.running import announced, left_behind, pid_file, running
from plugind.client import Client
from plugind.errors import PlugindError
from tests.api.gate import acl_block
from tests.processes import Machine, Process, machine
from tests.promises import COMMAND_MAXIMUM, PATIENCE
from tests.support import eventually
from tests.test_cli import plugind

BROKEN = 'namespace "default" {\n  policy = "reed"\n}\n'


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    """Yield a machine with the configuration of a server with ACLs; anyone may list plugins."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/anonymous.hcl").write_text('plugin { policy = "list" }\n')
    (tmp_path / "tokens.hcl").write_text("")
    (tmp_path / "server.hcl").write_text(
        f'data_dir = "{tmp_path}/data"\nports {{ http = 0 }}\nserver {{ enabled = true }}\n'
        + acl_block(tmp_path)
    )
    with machine(tmp_path) as made:
        yield made


def serve(here: Machine, *more: str) -> tuple[Process, Client]:
    process = here.start("agent", "--config", here.folder / "server.hcl", *more)
    address = eventually(lambda: re.search(r"address=(http://\S+)", process.logged))
    eventually(lambda: left_behind(here.folder / "data", "server") == str(process.pid))
    return process, Client(address[1])


def reload(here: Machine, *more: str) -> subprocess.CompletedProcess[str]:
    return plugind("reload", "--config", here.folder / "server.hcl", *more)


def test_a_reload_is_checked_before_it_is_sent(here: Machine) -> None:
    process, client = serve(here)
    policy = here.folder / "policies/anonymous.hcl"
    policy.write_text(BROKEN)
    (here.folder / "tokens.hcl").write_text('token "x" {}\n')
    done = reload(here)
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"{policy}:2:3: unknown policy level")
    assert any(line.startswith(f"{here.folder}/tokens.hcl:1:1: ") for line in lines)
    assert lines[-1] == "Error: the configuration has mistakes"

    policy.write_text('node { policy = "read" }\nplugin { policy = "write" }\n')
    (here.folder / "tokens.hcl").write_text("")
    done = reload(here)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"Process {process.pid} (server) reads the configuration again; "
        "its log and /v1/agent/health show the result.\n"
    )
    assert done.stderr.startswith(f"Warning: {policy}:2:10: ")
    eventually(lambda: "event=reloaded" in process.logged)
    assert "mistake" not in process.logged, "it did not get the broken one"
    assert client.nodes().value == []
    assert process.stop() == 0
    assert left_behind(here.folder / "data", "server") == ""


def test_one_process_of_two_roles_is_signalled_once(here: Machine) -> None:
    process, _ = serve(here, "--client-enabled", "true", "--plugin-types-enabled", "csi")
    eventually(lambda: running(here.folder / "data", "client") == process.pid)
    done = reload(here, "--client-enabled", "true", "--plugin-types-enabled", "csi")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Process {process.pid} (server and client) reads")
    assert done.stdout.count("\n") == 1
    eventually(lambda: "event=reloaded" in process.logged)
    assert process.stop() == 0


def test_a_missing_process_is_reported(here: Machine) -> None:
    data = here.folder / "data"
    none = f"Error: no plugind runs on data_dir {data}"
    assert (reload(here).returncode, reload(here).stderr) == (1, f"{none}\n")
    process, _ = serve(here)
    process.kill()
    done = reload(here)
    assert done.returncode == 1
    assert done.stderr == (
        f"{none}; server.pid was left behind by process {process.pid}, which ended\n"
    )
    again, _ = serve(here)
    assert running(data, "server") == again.pid
    assert pid_file(data, "server").read_text() == f"{again.pid}\n"


def test_the_lock_counts_and_not_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "server.pid").write_text("1\n")
    assert running(tmp_path, "server") is None
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from plugind.cli.running import announced, running\n"
        "folder = Path(sys.argv[1])\n"
        "(folder / 'server.pid').write_text('1')\n"
        "print(running(folder, 'server') == os.getppid())\n"
        "with announced(folder, 'server'): pass"
    )
    with announced(tmp_path, "server"):
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path],
            capture_output=True,
            text=True,
            timeout=COMMAND_MAXIMUM,
        )
    assert done.stdout == "True\n"
    assert f"another plugind runs as server on data_dir {tmp_path}: stop it first" in done.stderr


def test_a_file_that_cannot_be_used_is_reported(tmp_path: Path) -> None:
    (tmp_path / "server.pid").mkdir()
    with pytest.raises(PlugindError, match="Is a directory"), announced(tmp_path, "server"):
        pass
    gone = pytest.raises(PlugindError, match=r"none/server\.pid: No such file")
    with gone, announced(tmp_path / "none", "server"):
        pass


def test_config_validate_reads_policies_and_tokens(here: Machine) -> None:
    file = here.folder / "server.hcl"
    done = plugind("config", "validate", file)
    assert (done.returncode, done.stdout) == (0, "The configuration is valid.\n"), done.stderr
    (here.folder / "policies/broken.hcl").write_text(BROKEN)
    done = plugind("config", "validate", file)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{here.folder}/policies/broken.hcl:2:3: ")


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("policies/broken.hcl", BROKEN, "policies/broken.hcl:2:3: unknown policy level"),
        ("policies/broken.json", "{", "policies/broken.json:1:"),
        ("tokens.hcl", 'token "x" {\n  hash = "x"\n}\n', "tokens.hcl:2:3: hash must be"),
        ("tokens.hcl", None, "tokens.hcl: "),
    ],
)
def test_a_mistake_in_policies_or_tokens_stops_the_start(
    here: Machine, file: str, text: str | None, problem: str
) -> None:
    """Refuse to start: without the rules that cannot be read the server might be too open."""
    path = here.folder / file
    path.unlink() if text is None else path.write_text(text)
    process = here.start("agent", "--config", here.folder / "server.hcl")
    assert process.popen.wait(PATIENCE) == 1
    assert f"{here.folder}/{problem}" in process.logged
    assert "event=serving" not in process.logged
    assert "Traceback" not in process.logged


def test_acls_without_any_token_start_closed_and_say_how_to_open_them(tmp_path: Path) -> None:
    (tmp_path / "tokens.hcl").write_text("")
    (tmp_path / "server.hcl").write_text('acl {\n  enabled = true\n  tokens = "tokens.hcl"\n}\n')
    with machine(tmp_path) as here:
        process, client = serve(
            here,
            *("--server-enabled", "true", "--ports-http", "0", "--data-dir", f"{tmp_path}/data"),
        )
        assert "plugind acl token create --type management" in process.logged
        with pytest.raises(PlugindError, match="Permission denied"):
            client.plugins("csi")
        assert client.health().value["server"]["ok"]
