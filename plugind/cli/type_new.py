"""``plugind type new``: write a package with a new plugin type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import click

from plugind import __version__
from plugind.cli import terminal
from plugind.cli.commands import Command, examples
from plugind.errors import PlugindError
from plugind.plugin_type import API_VERSION
from plugind.types.registry import load_registry
from plugind.types.validation import is_name

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
"""The file that is written from each template."""

_NEXT = """\
Wrote {folder}. Next:

  pip install -e {folder}
  plugind type list
  plugind type check {name}
"""


@click.command(cls=Command, epilog=examples("plugind type new tape --folder ~/plugind-tape"))
@click.argument("name")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="The folder to write, which must not exist yet.  [default: plugind-NAME]",
)
def new(name: str, folder: Path | None) -> None:
    """Write a package with a new plugin type NAME, to start from.

    The package is complete: it installs, its tests pass, and a server serves the type. It probes
    files; replace that with your own plugins. The next commands are printed.
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
    terminal.echo(_NEXT.format(folder=folder, name=name), nl=False)


def _check(name: str, folder: Path) -> None:
    if not is_name(name):
        raise PlugindError(
            f"{name!r} is not a name for a type: use 1 to 32 lower-case letters, digits, - or _"
        )
    if origin := load_registry().origins.get(name):
        raise PlugindError(f"{origin} already has a plugin type {name!r}; use another name")
    if folder.exists():
        raise PlugindError(f"{folder} already exists; name another folder with --folder")


def _words(name: str) -> Mapping[str, str]:
    """Return the text that replaces each placeholder in the templates."""
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
