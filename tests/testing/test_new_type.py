"""``plugind type new``: the package that it makes installs, follows the rules and is served."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from plugind.cli import type_new
from plugind.errors import PlugindError
from tests.processes import PLUGIND

ROOT = Path(__file__).parent.parent.parent


def run(*command: str | Path, folder: Path, **environ: str) -> str:
    done = subprocess.run(
        list(command),
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_new_package_works_at_once(tmp_path: Path) -> None:
    said = run(PLUGIND, "type", "new", "lamp-post", folder=tmp_path)
    assert "plugind type check lamp-post" in said
    package, installed = tmp_path / "plugind-lamp-post", tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation", "--target", installed]
    run(*pip, *offline, package, folder=tmp_path)
    path = {"PYTHONPATH": str(installed)}
    listed = run(PLUGIND, "type", "list", folder=tmp_path, **path)
    assert ["lamp-post", "LampPost", "0.1.0", "plugind-lamp-post"] in [
        line.split() for line in listed.splitlines()
    ]
    tested = run(sys.executable, "-m", "pytest", "-q", folder=package, **path)
    assert "19 passed" in tested


def test_the_new_package_is_in_good_style(tmp_path: Path) -> None:
    assert CliRunner().invoke(type_new.new, ["lamp", "--folder", str(tmp_path / "here")]).output
    ruff, config = Path(sys.executable).with_name("ruff"), ROOT / "pyproject.toml"
    run(ruff, "check", "--config", config, "here", folder=tmp_path)
    run(ruff, "format", "--check", "--config", config, "here", folder=tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["La mp"], "'La mp' is not a name for a type"),
        (["../up"], "'../up' is not a name for a type"),
        (["csi"], "already has a plugin type 'csi'; use another name"),
        (["lamp", "--folder", "there"], "there already exists"),
        (["lamp", "--folder", "file/x"], "cannot write file/x: Not a directory"),
    ],
)
def test_requests_that_it_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()
    error = CliRunner().invoke(type_new.new, words).exception
    assert isinstance(error, PlugindError)
    assert message in str(error)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "there"]


@pytest.mark.soak
def test_in_an_environment_of_its_own(tmp_path: Path) -> None:
    """Run the package in a new environment, with plugind installed by pip."""
    run(sys.executable, "-m", "venv", "venv", folder=tmp_path)
    bin = tmp_path / "venv/bin"
    pip = [bin / "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, ROOT, folder=tmp_path)
    run(bin / "plugind", "type", "new", "lamp", folder=tmp_path)
    run(*pip, "-e", "./plugind-lamp[test]", folder=tmp_path)
    assert "plugind-lamp" in run(bin / "plugind", "type", "list", folder=tmp_path)
    run(bin / "plugind", "type", "check", "lamp", folder=tmp_path)
    assert "17 passed" in run(bin / "pytest", "-q", folder=tmp_path / "plugind-lamp")
