"""Unusable files in place of PID files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from plugind.cli.roles import Roles
from plugind.cli.running import announced, left_behind, running, started_with
from plugind.errors import PlugindError
from plugind.testing.serving import load
from tests.test_cli import plugind


def link_to_full(path: Path) -> None:
    path.symlink_to("/dev/full")


def link_to_nothing(path: Path) -> None:
    path.symlink_to("/none/such")


MAKERS = [Path.mkdir, os.mkfifo, link_to_full, link_to_nothing]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("name", ["server.pid", "server.settings", "client.pid"])
def test_an_unusable_file_is_one_line(
    tmp_path: Path, make: Callable[[Path], None], name: str
) -> None:
    file = tmp_path / name
    make(file)
    role = name.partition(".")[0]
    with pytest.raises(PlugindError) as caught, announced(tmp_path, role):
        pass
    assert str(caught.value).startswith(f"{file}: ")
    assert left_behind(tmp_path, role) == ""
    assert started_with(tmp_path, role) == {}
    assert running(tmp_path, role) is None


def test_a_start_and_its_check_say_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "server.pid")
    options = ("--data-dir", tmp_path, "--server-enabled", "true", "--ports-http", "0")
    for command in (("agent",), ("config", "validate")):
        done = plugind(*command, *options)
        assert done.returncode == 1
        assert done.stderr == (
            f"--data-dir: data_dir: {tmp_path}/server.pid is not a regular file; remove it\n"
            "Error: the configuration has mistakes\n"
        )


def test_a_start_that_fails_late_ends_what_had_started(tmp_path: Path) -> None:
    """Close a server when its start fails late, and still report the reason."""
    settings, registry = load(tmp_path, "", {"server_enabled": "true", "ports_http": "0"})
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / "data/server.pid")
    roles = Roles(replace(settings, data_dir=tmp_path / "data"), registry)
    with pytest.raises(PlugindError, match=r"server\.pid: it is not a regular file"):
        roles.start()
