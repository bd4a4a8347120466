"""Finds drivers' sockets, from blocks and globs, and the plugin that each path stands for."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from plugin_types.csi import nomad
from plugin_types.csi.nomad import SOCKET_FILE, Layout
from plugin_types.csi.settings import CsiSettings, NamedInstance
from plugin_types.csi.sockets import plugin_id
from plugind.plugin_type import Schedule

_AS_ALL = Schedule()


@dataclass(frozen=True)
class Target:
    """A socket to probe.

    ``file`` (device, inode, when it was made) differs once another socket takes its place; None if
    there is no socket. ``id`` is the plugin's ID by the socket's path; with ``driver_names`` it is
    a stand-in, because the path does not show the ID. ``role`` is the only role that the block
    gives the socket; None: it is found out. ``layout`` is the socket's place in Nomad's folders;
    None: it is in none of them. ``schedule`` is that of the block that names the socket.
    """

    path: str
    id: str
    driver_names: bool = False
    role: str | None = None
    file: tuple[int, int, int] | None = None
    schedule: Schedule = _AS_ALL
    layout: Layout | None = None

    @property
    def named(self) -> bool:
        """Return whether an ``instance`` block names the socket."""
        return isinstance(self.schedule, NamedInstance)


def find_targets(settings: CsiSettings, remembered: Collection[str] = ()) -> dict[str, Target]:
    """Return all targets by the socket's path.

    A socket that several paths lead to is one target: that of the block that names it, else that of
    the path without a symbolic link, else that of the first path. A file of another kind in the
    place of a socket is a target too. So is the endpoint of an ``instance`` block, whether its
    socket exists or not: a driver that was never started is listed. ``remembered`` are paths that
    are targets even if nothing is there, as long as a glob would match them.
    """
    paths = {path for pattern in settings.sockets for path in glob.iglob(pattern)}
    found = {path for path in paths if os.path.exists(path)}
    found |= {path for path in remembered if _is_sought(path, settings.sockets)}
    named = [
        Target(block.endpoint, id, role=block.role, schedule=block)
        for id, blocks in settings.instance.items()
        for block in blocks
    ]
    ordered = sorted(found, key=lambda path: (os.path.realpath(path) != path, path))
    folders: dict[str, frozenset[str]] = {}
    targets: dict[str, Target] = {}
    for target in [*named, *(_target(path, folders) for path in ordered)]:
        targets.setdefault(os.path.realpath(target.path), target)
    return {one.path: replace(one, file=_file(one.path)) for one in targets.values()}


def _is_sought(path: str, patterns: Iterable[str]) -> bool:
    """Return whether one of the globs would match the path if something were there."""
    parts = Path(path).parts
    return any(
        len(parts) == len(wanted := Path(pattern).parts)
        and all(map(fnmatch.fnmatchcase, parts, wanted))
        for pattern in patterns
    )


def _file(path: str) -> tuple[int, int, int] | None:
    """Return numbers that identify a file; None if there is no file.

    The number of an inode may be used again, but not with the same time.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _target(path: str, folders: dict[str, frozenset[str]]) -> Target:
    """Return the target of a path that a glob found; ``folders`` caches the IDs below a root."""
    layout = nomad.layout_of(path)
    if layout is None:
        file = Path(path)
        return Target(path, plugin_id(file.parent.name if file.name == SOCKET_FILE else file.stem))
    if not layout.alloc_id:
        return Target(path, plugin_id(layout.id), layout=layout)
    if layout.root not in folders:
        folders[layout.root] = nomad.ids_in(layout.root)
    ids = folders[layout.root]
    if len(ids) == 1:
        return Target(path, next(iter(ids)), layout=layout)
    return Target(path, layout.alloc_id, driver_names=True, layout=layout)


def folders_to_watch(patterns: Iterable[str]) -> frozenset[str]:
    """Return the folders in which an entry that matters to the globs may appear or vanish.

    For each glob, these are the folders that may contain a socket or a match of a wildcard and, if
    the next folder of the path is still missing, the last one that exists. Folders below them are
    left out, because kubelet and Nomad mount volumes there.
    """
    return frozenset(
        folder
        for pattern in patterns
        for folder, readable in _levels(Path(pattern)).items()
        if readable
    )


def unreadable_folders(patterns: Iterable[str]) -> list[str]:
    """Return the folders that have to be read for the globs but that the agent may not read."""
    levels = (_levels(Path(pattern)).items() for pattern in patterns)
    closed = {folder for level in levels for folder, readable in level if not readable}
    return sorted(folder for folder in closed if os.path.isdir(folder))


def _levels(pattern: Path) -> Mapping[str, bool]:
    """Return the folders that matter to a glob, and whether the agent may look into each."""
    watched: set[str] = set()
    closed: set[str] = set()
    here = {pattern.anchor}
    for part in pattern.parts[1:-1]:
        deeper: set[str] = set()
        for folder in here:
            step = os.path.join(glob.escape(folder), part)
            inner = {path for path in glob.iglob(step) if os.path.isdir(path)}
            if glob.has_magic(part) or not inner:
                watched.add(folder)
            if not _may_read(folder, listed=glob.has_magic(part)):
                closed.add(folder)
            deeper |= inner
        here = deeper
    closed |= {
        folder for folder in here if not _may_read(folder, listed=glob.has_magic(pattern.name))
    }
    return {
        **{folder: True for folder in watched | here if _may_read(folder, listed=True)},
        **dict.fromkeys(closed, False),
    }


def _may_read(folder: str, *, listed: bool) -> bool:
    """Return whether the agent may reach the entries of a folder and, if ``listed``, list them."""
    needed = os.X_OK | (os.R_OK if listed else 0)
    return os.access(folder, needed, effective_ids=True)
