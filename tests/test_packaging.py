"""Installing and uninstalling with pip: which files are built, and which stay behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
PACKAGES = ("plugind", "plugin_types")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")


def pip(*words: str | Path) -> None:
    done = subprocess.run([*PIP, *words], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy of the sources, and check that the copy is unchanged."""
    folder = tmp_path_factory.mktemp("packaging")
    clone = folder / "clone"
    clone.mkdir()
    for name in SOURCES:
        shutil.copy(ROOT / name, clone)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    before = files(clone)
    options = ("--no-deps", "--no-index", "--no-build-isolation")
    pip("wheel", *options, "--wheel-dir", folder / "wheels", clone)
    assert files(clone) == before, "the build left files in the clone"
    (built,) = (folder / "wheels").iterdir()
    return built


def test_uninstalling_leaves_only_the_types_of_others(tmp_path: Path, wheel: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv/bin/python"
    (site,) = (tmp_path / "venv").glob("lib/python3*/site-packages")
    before = files(site)

    def install() -> None:
        pip("--python", python, "install", "--no-deps", "--no-index", wheel)

    def uninstall() -> None:
        pip("--python", python, "uninstall", "--yes", "plugind")

    install()
    assert (site / "plugin_types/csi/csi.proto").is_file()
    assert (site / "plugind/cli/new_type/setup.cfg.tmpl").is_file()
    uninstall()
    assert files(site) == before

    install()
    other = site / "plugin_types/other/__init__.py"
    other.parent.mkdir()
    other.touch()
    uninstall()
    left = {path.relative_to(site) for path in (other, other.parent, other.parent.parent)}
    assert files(site) == before | left
