"""The files of a configuration: named files, and the files in named folders, in order."""

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
    """Return the trees of all files, and the mistakes in them; a later file overrides earlier ones.

    A folder stands for its files that end in SUFFIXES, sorted by name.
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
    """Return a mistake for each file that users other than root can change, if this process runs
    as root.

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

    Files that editors and package managers leave behind begin with a dot or have other suffixes.
    """
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix in SUFFIXES and not file.name.startswith(".") and not file.is_dir()
    )
