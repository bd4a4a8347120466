"""``plugind type new``: writes a package with a plugin type to begin with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import click

from plugind import __version__
from plugind.errors import PlugindError
from plugind.flaws import is_name
from plugind.plugin_type import API_VERSION
from plugind.registry import load_registry

_TEMPLATES = files("plugind.cli") / "new_type"
_FILES = {
    "setup.cfg": "setup.cfg",
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "init.py": "{{package}}/__init__.py",
    "prober.py": "{{package}}/prober.py",
    "schemas.py": "{{package}}/schemas.py",
    "test.py": "tests/test_{{module}}.py",
}
"""By template: the file that it becomes."""

_NEXT = """\
Wrote {folder}. Next:

  pip install -e {folder}
  plugind type list
  plugind type check {name}
"""


@click.command()
@click.argument("name")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Where to write it, a folder that is not there yet.  [default: plugind-NAME]",
)
def new(name: str, folder: Path | None) -> None:
    """Write a package that brings a plugin type of that name, to begin with.

    It is whole: it installs, its tests pass, and it is served. What it probes are files; replace
    that by what your plugins are.
    """
    folder = folder or Path(f"plugind-{name}")
    _check(name, folder)
    words = _words(name)
    try:
        folder.mkdir(parents=True)
        for template, target in _FILES.items():
            file = folder / _filled(target, words)
            file.parent.mkdir(exist_ok=True)
            file.write_text(_filled((_TEMPLATES / f"{template}.tmpl").read_text(), words))
    except OSError as error:
        raise PlugindError(f"cannot write {error.filename}: {error.strerror}") from error
    click.echo(_NEXT.format(folder=folder, name=name), nl=False)


def _check(name: str, folder: Path) -> None:
    if not is_name(name):
        raise PlugindError(
            f"{name!r} is no name for a type: 1 to 32 lower-case letters, digits, - or _"
        )
    if origin := load_registry().origins.get(name):
        raise PlugindError(f"{origin} brings a plugin type {name!r} already; take another name")
    if folder.exists():
        raise PlugindError(f"{folder} is there already; --folder says where else to write it")


def _words(name: str) -> Mapping[str, str]:
    """What stands for each word of the templates."""
    module = name.replace("-", "_")
    return {
        "name": name,
        "module": module,
        "package": f"plugind_{module}",
        "distribution": f"plugind-{name.replace('_', '-').rstrip('-')}",
        "class": "".join(part.capitalize() for part in re.split("[-_]", name)),
        "api": str(API_VERSION),
        "plugind": __version__,
    }


def _filled(template: str, words: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: words[match[1]], template)
