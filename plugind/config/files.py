"""The files of a configuration: those that are named, and those in named folders, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from plugind.config.branches import Branch, branch_of
from plugind.config.reading import parse_file
from plugind.config.tree import Place
from plugind.errors import ConfigError, Mistake
from plugind.toolbox.trust import why_untrusted

SUFFIXES = (".hcl", ".json")


def read_all(paths: Sequence[Path]) -> tuple[list[Branch], list[Mistake]]:
    """Return the tree of every file, in the order in which a later one wins, and the mistakes in
    them.

    A folder stands for its files that end in SUFFIXES, in the order of their names.
    """
    branches: list[Branch] = []
    mistakes: list[Mistake] = []
    for path in paths:
        try:
            for file in _files(path):
                try:
                    branch, found = branch_of(parse_file(file))
                except ConfigError as error:
                    branch, found = Branch(Place(str(file))), list(error.mistakes)
                branches.append(branch)
                mistakes += found
        except OSError as error:
            mistakes.append(Place(str(path)).mistake(f"cannot be read: {error.strerror}"))
    return branches, mistakes


def untrusted(branches: Iterable[Branch]) -> list[Mistake]:
    """Return a mistake for each file that other users than root can change, where this process is
    root.

    A user who can change an agent's configuration chooses which programs the agent runs.
    """
    reasons = {branch.place: why_untrusted(branch.place.source) for branch in branches}
    return [
        Place(place.source).mistake(f"is not used by an agent that runs as root: {reason}")
        for place, reason in reasons.items()
        if reason
    ]


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    files = files_in(path)
    if not files:
        text = f"the folder holds no file that ends in {' or '.join(SUFFIXES)}"
        below = sorted(each.name for each in path.iterdir() if each.is_dir() and files_in(each))
        hint = f"; name one of the folders in it: {', '.join(below)}" if below else ""
        raise FileNotFoundError(0, f"{text}{hint}")
    yield from files


def files_in(folder: Path) -> list[Path]:
    """Return the files of a folder that end in SUFFIXES, sorted by name. Raise OSError.

    Leftovers of editors and package managers begin with a dot, or end otherwise.
    """
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix in SUFFIXES and not file.name.startswith(".") and not file.is_dir()
    )
