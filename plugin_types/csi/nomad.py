"""What Nomad knows about a driver, read from its folders, the driver's mounts and environment.

Nomad before 1.3 keeps sockets in ``csi/{controller,node,monolith}/ID/csi.sock``. Newer ones keep
them in ``csi/plugins/ALLOC_ID/csi.sock``, and mount that folder and ``csi/{...}/ID`` into the
driver's container. Nomad never removes the folders by ID, so they alone prove nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plugin_types.csi.roles import CONTROLLER, NODE, ROLES
from plugind.fields import ID_PATTERN, is_node_id
from plugind.toolbox import mounts, processes

SOCKET_FILE = "csi.sock"

_KINDS: Mapping[str, frozenset[str]] = {
    "controller": frozenset({CONTROLLER}),
    "node": frozenset({NODE}),
    "monolith": frozenset(ROLES),
}
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OLD_SOCKET = re.compile(rf".*/csi/({'|'.join(_KINDS)})/([^/]+)/{re.escape(SOCKET_FILE)}")
_NEW_SOCKET = re.compile(rf"(.*/csi)/plugins/({_UUID})/{re.escape(SOCKET_FILE)}")
_ALLOC_ROOT = re.compile(rf".*/csi/plugins/({_UUID})")
_ID_ROOT = re.compile(rf".*/csi/({'|'.join(_KINDS)})/({ID_PATTERN.pattern})")
_VARIABLES = {
    "NOMAD_ALLOC_ID": "alloc_id",
    "NOMAD_ALLOC_NAME": "name",
    "NOMAD_JOB_ID": "job",
    "NOMAD_GROUP_NAME": "group",
    "NOMAD_TASK_NAME": "task",
}


@dataclass(frozen=True)
class Layout:
    """The place of a socket in Nomad's folders.

    In the old layout, ``id`` and ``roles`` are known. In the new layout, ``alloc_id`` is known, and
    ``root`` is the folder ``csi``.
    """

    id: str = ""
    roles: frozenset[str] = frozenset()
    alloc_id: str = ""
    root: str = ""


@dataclass(frozen=True)
class Task:
    """The Nomad task that a process belongs to, by its environment; unknown fields are ""."""

    alloc_id: str = ""
    name: str = ""
    job: str = ""
    group: str = ""
    task: str = ""

    @property
    def key(self) -> str:
        """Return a text that all allocations of one task have in common; "" if it is unknown."""
        parts = (self.job, self.group, self.task)
        return "\n".join(parts) if all(parts) else ""


def layout_of(path: str) -> Layout | None:
    """Return the place of a socket in Nomad's folders; None if it is in none of them."""
    if match := _NEW_SOCKET.fullmatch(path):
        return Layout(root=match[1], alloc_id=match[2])
    if match := _OLD_SOCKET.fullmatch(path):
        return Layout(id=match[2], roles=_KINDS[match[1]])
    return None


def ids_in(root: str) -> frozenset[str]:
    """Return the plugin IDs that have a folder in Nomad's folder ``csi``, with sockets or not."""
    return frozenset(
        entry.name
        for kind in _KINDS
        for entry in _entries(Path(root, kind))
        if ID_PATTERN.fullmatch(entry.name) and entry.is_dir()
    )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def mounted(roots: Iterable[str], alloc_id: str) -> tuple[str, frozenset[str]] | None:
    """Return the plugin's ID and the roles that Nomad started an allocation for, from the roots of
    its process's mounts.

    None if the mounts are not those of that allocation, or name no plugin or several. Only the end
    of a root counts, because its beginning depends on the file system that Nomad's folder is on.
    """
    allocations, places = set(), set()
    for root in roots:
        if match := _ALLOC_ROOT.fullmatch(root):
            allocations.add(match[1])
        elif match := _ID_ROOT.fullmatch(root):
            places.add((match[2], _KINDS[match[1]]))
    ids = {id for id, _ in places}
    if alloc_id not in allocations or len(ids) != 1:
        return None
    return ids.pop(), frozenset[str]().union(*(roles for _, roles in places))


def mounts_of(pid: int, alloc_id: str) -> tuple[str, frozenset[str]] | None:
    """Return the result of ``mounted`` for a process."""
    return mounted(mounts.mount_roots(pid), alloc_id)


def task_of(pid: int, layout: Layout) -> Task:
    """Return the task that a process in one of Nomad's layouts belongs to, by its environment.

    In the new layout, the socket's folder shows the allocation. An environment that names another
    allocation is ignored: the process inherited it from its parent.
    """
    found = processes.environment(pid, _VARIABLES.keys())
    task = Task(**{_VARIABLES[name]: value for name, value in found.items()})
    if not is_node_id(task.alloc_id) or layout.alloc_id not in ("", task.alloc_id):
        return Task(alloc_id=layout.alloc_id)
    return task


def described(process: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Return the description of a process, with Nomad's names if they are known."""
    named = {
        "AllocID": task.alloc_id,
        "Name": task.name,
        "JobID": task.job,
        "TaskGroup": task.group,
    }
    return {**process, **{name: value for name, value in named.items() if value}}
