"""Where a command takes its token from, and which token files it refuses."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugind.acl.tokens import digest
from tests.processes import PLUGIND
from tests.promises import COMMAND_MAXIMUM
from tests.support import Live, serving
from tests.test_cli import plugind

SECRET = "a-token-that-may-list-nodes-0123456789"
TOKENS = 'token "ops" {{\n  accessor = "{0}"\n  hash = "sha256:{1}"\n  type = "management"\n}}\n'


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Live]:
    """Serve so that everything requires the management token SECRET."""
    tokens = tmp_path / "tokens.hcl"
    accessor = "11111111-2222-4333-8444-555555555555"
    tokens.write_text(TOKENS.format(accessor, digest(SECRET).hex()))
    with serving(tmp_path, live=True, acl_enabled="true", acl_tokens=str(tokens)) as served:
        assert isinstance(served, Live)
        yield served


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(f"{SECRET}\n")
    return path


def test_every_source_of_a_token(api: Live, file: Path) -> None:
    def status(*words: str | Path, **environ: str) -> int:
        done = plugind("node", "status", "--json", *words, address=api.address, **environ)
        assert SECRET not in done.stdout + done.stderr
        if done.returncode == 0:
            assert json.loads(done.stdout) == []
        return done.returncode

    assert status() == 1, "without a token nothing is shown"
    assert status("--token", SECRET) == 0
    assert status("--token-file", file) == 0
    assert status(PLUGIND_TOKEN=SECRET) == 0
    assert status(PLUGIND_TOKEN_FILE=str(file)) == 0
    assert status(NOMAD_TOKEN=SECRET) == 0
    wrong = {"PLUGIND_TOKEN": "wrong", "NOMAD_TOKEN": "wrong"}
    assert status("--token-file", file, **wrong) == 0, "an option wins over variables"
    assert status("--token", SECRET, PLUGIND_TOKEN_FILE="/none") == 0
    assert status(NOMAD_TOKEN="wrong", PLUGIND_TOKEN_FILE=str(file)) == 0


def test_a_token_from_a_program(api: Live, file: Path) -> None:
    """Accept a token from a program: "plugind node status --token-file <(pass plugind)"."""
    reading, writing = os.pipe()
    os.write(writing, SECRET.encode())
    os.close(writing)
    done = subprocess.run(
        [PLUGIND, "node", "status", "--address", api.address, "--token-file", f"/dev/fd/{reading}"],
        capture_output=True,
        pass_fds=[reading],
        timeout=COMMAND_MAXIMUM,
    )
    os.close(reading)
    assert done.returncode == 0, done.stderr


def failure(*words: str | Path, **environ: str) -> str:
    done = plugind("node", "status", *words, address="http://127.0.0.1:1", **environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert SECRET not in done.stderr
    return done.stderr


def test_files_that_are_not_used(file: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    gone = f"{missing} cannot be read: No such file or directory; put the token there\n"
    assert failure("--token-file", missing) == f"Error: --token-file {gone}"
    assert failure(PLUGIND_TOKEN_FILE=str(missing)) == f"Error: PLUGIND_TOKEN_FILE {gone}"
    for mode in (0o604, 0o602, 0o620, 0o666):
        file.chmod(mode)
        assert failure("--token-file", file) == (
            f"Error: --token-file {file} is open to other users: chmod o=,g-w {file}\n"
        )
    file.chmod(0o640)
    assert "no answer from" in failure("--token-file", file), "a group may read it"
    for text in ("", "two words", "line\nline", "x" * 5_000, "ключ"):
        file.write_text(text)
        assert failure("--token-file", file) == (
            f"Error: --token-file {file} holds no token; it must hold one and nothing else\n"
        )


def test_contradictions(file: Path) -> None:
    both = failure("--token", "x", "--token-file", file)
    assert both == "Error: give --token or --token-file, not both\n"
    both = failure(PLUGIND_TOKEN="x", PLUGIND_TOKEN_FILE=str(file))
    assert both == "Error: set PLUGIND_TOKEN or PLUGIND_TOKEN_FILE, not both\n"


def test_monitoring_counts_a_missing_token_file_as_unknown(tmp_path: Path) -> None:
    done = plugind("plugin", "check", "csi/nfs", "--token-file", tmp_path / "none")
    assert done.returncode == 3
    assert done.stdout.startswith("PLUGIND UNKNOWN - --token-file ")
