"""Which executables and networks there are, and which of them belong together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from plugin_types.cni.networks import SUFFIXES, Network, read_network
from plugin_types.cni.settings import CniSettings


@dataclass(frozen=True)
class Executable:
    """``file`` tells it from another that took its place: device, inode, when it last changed."""

    name: str
    path: str
    file: tuple[int, int, int]


@dataclass(frozen=True)
class ExecutableTarget:
    """An executable to ask, and the networks that need it."""

    executable: Executable
    networks: tuple[Network, ...]


@dataclass(frozen=True)
class NetworkTarget:
    """A network, and what it needs by name; None where no folder has it."""

    network: Network
    executables: tuple[tuple[str, Executable | None], ...]


Target = ExecutableTarget | NetworkTarget


def find_targets(settings: CniSettings) -> dict[str, Target]:
    """What there is to look after: executables by path, networks by the name of their file.

    A target is another one as soon as anything changes that its health follows from.
    """
    executables = find_executables(settings)
    networks = find_networks(settings)
    targets: dict[str, Target] = {}
    for network in networks:
        needed = tuple((name, executables.get(name)) for name in network.needs)
        targets[network.file] = NetworkTarget(network, needed)
    for name, executable in executables.items():
        users = tuple(network for network in networks if name in network.needs)
        targets[executable.path] = ExecutableTarget(executable, users)
    return targets


def find_executables(settings: CniSettings) -> Mapping[str, Executable]:
    """By name. Folders often hold a license and notes as well, which are not executable."""
    found: dict[str, Executable] = {}
    for folder in settings.bin_dirs:
        for name, path in _files(folder):
            if name in found or any(fnmatchcase(name, pattern) for pattern in settings.ignore):
                continue
            if os.access(path, os.X_OK) and (identity := _identity(path)):
                found[name] = Executable(name, path, identity)
    return found


def find_networks(settings: CniSettings) -> list[Network]:
    """In the order of their files' names, which is the one that runtimes choose by."""
    files = (path for name, path in _files(settings.conf_dir) if name.endswith(SUFFIXES))
    return [network for path in files if (network := read_network(path))]


def _files(folder: str) -> list[tuple[str, str]]:
    """The files of a folder by name, with their paths; none where there is no folder."""
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
