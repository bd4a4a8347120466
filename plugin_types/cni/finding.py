"""Finds the executables and the networks, and which networks need which executables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from plugin_types.cni.networks import SUFFIXES, Need, Network, read_network
from plugin_types.cni.settings import CniSettings

# Never run, even if the configuration allows it: CNI's executables are programs, and a file next to
# them with such a name is an installer, or a vendor's tool for another purpose.
NEVER_RUN = (".*", "*.sh", "*.py")


@dataclass(frozen=True)
class Executable:
    """An executable. ``file`` (device, inode, time of the last change) differs once another file
    takes its place.

    ``runs`` says whether it may be run, to ask it which versions it supports.
    """

    name: str
    path: str
    file: tuple[int, int, int]
    runs: bool = True


@dataclass(frozen=True)
class ExecutableTarget:
    """An executable, and the networks that need it.

    ``allowed`` says whether the settings allow it to be run even if no network needs it.
    """

    executable: Executable
    networks: tuple[Network, ...]
    allowed: bool

    @property
    def runs(self) -> bool:
        return self.allowed or bool(self.networks)


@dataclass(frozen=True)
class NetworkTarget:
    """A network, and the executables that it needs; None for one that no folder has."""

    network: Network
    executables: tuple[tuple[Need, Executable | None], ...]


Target = ExecutableTarget | NetworkTarget


def find_targets(settings: CniSettings) -> dict[str, Target]:
    """Return all targets: executables by path, networks by the name of their file.

    A target differs from its predecessor as soon as anything that its health depends on changes.
    Executables that may not be run because no network needs them are targets as well: a probe of
    such an executable finds nothing, which removes it from the lists if it was needed before.
    """
    executables = find_executables(settings)
    networks = find_networks(settings)
    targets: dict[str, Target] = {}
    for network in networks:
        needed = tuple((need, executables.get(need.name)) for need in network.all_needs)
        targets[network.file] = NetworkTarget(network, needed)
    for name, executable in executables.items():
        if executable.runs:
            users = tuple(network for network in networks if name in network.executables)
            allowed = _matches(name, settings.allow)
            targets[executable.path] = ExecutableTarget(executable, users, allowed)
    return targets


def find_executables(settings: CniSettings) -> Mapping[str, Executable]:
    """Return the executable files by name.

    Folders often hold a license and notes as well, which are not executable.
    """
    found: dict[str, Executable] = {}
    for folder in settings.bin_dirs:
        for name, path in _files(folder):
            if name not in found and os.access(path, os.X_OK) and (identity := _identity(path)):
                never = _matches(name.lower(), NEVER_RUN) or _matches(name, settings.ignore)
                found[name] = Executable(name, path, identity, runs=not never)
    return found


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def find_networks(settings: CniSettings) -> list[Network]:
    """Return the networks sorted by file name, the order by which runtimes choose one."""
    files = (path for name, path in _files(settings.conf_dir) if name.endswith(SUFFIXES))
    return [network for path in files if (network := read_network(path))]


def _files(folder: str) -> list[tuple[str, str]]:
    """Return the names and paths of a folder's files, sorted; none if there is no folder."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    paths = ((name, os.path.join(folder, name)) for name in names)
    return [(name, path) for name, path in paths if os.path.isfile(path)]


def _identity(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns
