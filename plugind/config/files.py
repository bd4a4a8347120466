"""The files of a configuration: those named, and those of the folders named, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from plugind.config.branches import Branch, branch_of
from plugind.config.hcl import parse_file
from plugind.config.tree import Place
from plugind.errors import ConfigError, Mistake

SUFFIXES = (".hcl", ".json")


def read_all(paths: Sequence[Path]) -> tuple[list[Branch], list[Mistake]]:
    """The tree of every file, in the order in which a later one wins, and what is wrong in them.

    A folder stands for its files that end in SUFFIXES, in the order of their names.
    """
    branches: list[Branch] = []
    mistakes: list[Mistake] = []
    for path in paths:
        try:
            for file in _files(path):
                branch, repeats = _read(file)
                branches.append(branch)
                mistakes += repeats
        except OSError as error:
            mistakes.append(Place(str(path)).mistake(f"cannot be read: {error.strerror}"))
    return branches, mistakes


def _read(file: Path) -> tuple[Branch, list[Mistake]]:
    try:
        return branch_of(parse_file(file))
    except ConfigError as error:
        return Branch(Place(str(file))), list(error.mistakes)


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    files = files_in(path)
    if not files:
        raise FileNotFoundError(0, f"the folder holds no file that ends in {' or '.join(SUFFIXES)}")
    yield from files


def files_in(folder: Path) -> list[Path]:
    """The files of a folder that end in SUFFIXES, in the order of their names; raises OSError."""
    return sorted(file for file in folder.iterdir() if _counts(file))


def _counts(file: Path) -> bool:
    """Editors' and package managers' leftovers begin with a dot, or end otherwise."""
    return file.suffix in SUFFIXES and not file.name.startswith(".") and not file.is_dir()
