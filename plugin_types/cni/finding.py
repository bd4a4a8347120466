"""Finds the executables and networks, and which of them belong together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from plugin_types.cni.networks import SUFFIXES, Need, Network, read_network
from plugin_types.cni.settings import CniSettings

# Never run, even if configuration allows it: CNI's executables are programs, and a file beside them
# with such a name is an installer, or a vendor's tool for another purpose.
NEVER_RUN = (".*", "*.sh", "*.py")


@dataclass(frozen=True)
class Executable:
    """An executable. ``file`` changes when another takes its place: device, inode, time of its last
    change.

    ``runs`` is whether it may be asked which versions it supports.
    """

    name: str
    path: str
    file: tuple[int, int, int]
    runs: bool = True


@dataclass(frozen=True)
class ExecutableTarget:
    """An executable, and the networks that need it.

    ``allowed`` is whether the settings allow to run it, even if no network needs it.
    """

    executable: Executable
    networks: tuple[Network, ...]
    allowed: bool

    @property
    def runs(self) -> bool:
        return self.allowed or bool(self.networks)


@dataclass(frozen=True)
class NetworkTarget:
    """A network, and the executables that it needs by name; None where no folder has one."""

    network: Network
    executables: tuple[tuple[Need, Executable | None], ...]


Target = ExecutableTarget | NetworkTarget


def find_targets(settings: CniSettings) -> dict[str, Target]:
    """Return all targets: executables by path, networks by the name of their file.

    A target differs from the one before as soon as anything changes that its health depends on.
    Executables that may not be run because no network needs them are targets as well: a probe of
    one finds nothing, which takes it out of the lists if it was needed before.
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
    """Return the networks in the order of their files' names, by which runtimes choose."""
    files = (path for name, path in _files(settings.conf_dir) if name.endswith(SUFFIXES))
    return [network for path in files if (network := read_network(path))]


def _files(folder: str) -> list[tuple[str, str]]:
    """Return the files of a folder by name, with their paths; none where there is no folder."""
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
