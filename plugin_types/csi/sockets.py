"""Where drivers' sockets are, which plugin each belongs to, and which folders to watch for more."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import socket
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from plugin_types.csi.settings import CsiSettings
from plugind.fields import ID_PATTERN
from plugind.plugin_type import Schedule

SOCKET_FILE = "csi.sock"
PATH_MAXIMUM = 107
"""Bytes of a socket's path: sun_path, less the closing zero (unix(7))."""

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NOMAD_SOCKET = re.compile(rf"(.*/csi)/plugins/({_UUID})/{re.escape(SOCKET_FILE)}")
_AS_ALL = Schedule()
_NOMAD_KINDS = ("controller", "node", "monolith")


@dataclass(frozen=True)
class Target:
    """A socket to probe.

    ``file`` tells one socket's file from another that took its place (device, inode, when it was
    made); None where there is none.
    ``id`` is the plugin's. Where ``driver_names`` is set, the driver's own name takes its place
    once it is known. ``role`` is the only one that the driver has here; None: it is asked.
    ``schedule`` is the block's that names it.
    """

    path: str
    id: str
    driver_names: bool = False
    role: str | None = None
    file: tuple[int, int, int] | None = None
    schedule: Schedule = _AS_ALL


def find_targets(settings: CsiSettings) -> dict[str, Target]:
    """What there is to probe, by the socket's path.

    A socket that is reached by several paths is one target: of the block that names it, else of the
    first path. What stands in the place of a socket and is none is a target too, and so is what an
    ``instance`` block names whether its socket exists or not: a driver that was never started is
    told of.
    """
    paths = {path for pattern in settings.sockets for path in glob.iglob(pattern)}
    found = [_target(path) for path in sorted(paths) if os.path.exists(path)]
    named = [
        Target(block.endpoint, id, role=block.role, schedule=block)
        for id, block in settings.instance.items()
    ]
    targets: dict[str, Target] = {}
    for target in named + found:
        targets.setdefault(os.path.realpath(target.path), target)
    return {one.path: replace(one, file=_file(one.path)) for one in targets.values()}


def _file(path: str) -> tuple[int, int, int] | None:
    """What no other file has: an inode's number may be used again, but not at the same time."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


def plugin_id(name: str) -> str:
    """The name as a plugin's ID: every character that an ID cannot have becomes a dash.

    A name of which nothing is left gets an ID that no other such name has.
    """
    id = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-")[:128]
    if ID_PATTERN.fullmatch(id):
        return id
    return f"unnamed-{hashlib.blake2b(name.encode(errors='replace'), digest_size=4).hexdigest()}"


def too_long(path: str) -> str:
    """Says so when no socket can be reached by the path, whatever is there; "" otherwise."""
    if len(os.fsencode(path)) <= PATH_MAXIMUM:
        return ""
    return f"the path {path} is longer than the {PATH_MAXIMUM} bytes that a socket's may have"


def unreachable(path: str) -> str:
    """Why nobody can be reached at a socket, as an operator wants to hear it; "" if one can.

    The path is not ``too_long``.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except BlockingIOError:
            return ""  # its backlog is full, so somebody listens
        except (FileNotFoundError, NotADirectoryError):
            return f"no socket at {path}"
        except ConnectionRefusedError:
            return _refused(path)
        except OSError as error:
            return f"cannot connect to {path}: {(error.strerror or str(error)).lower()}"
    return ""


def folders_to_watch(patterns: Iterable[str]) -> frozenset[str]:
    """The folders in which something that matters to the globs may appear or vanish.

    Of each glob: its folders that exist, and where the next is still missing, the last that does.
    Never what is below them: kubelet and Nomad mount volumes there.
    """
    return frozenset(folder for pattern in patterns for folder in _levels(Path(pattern)))


def _levels(pattern: Path) -> set[str]:
    watched: set[str] = set()
    here = {pattern.anchor}
    for part in pattern.parts[1:-1]:
        deeper: set[str] = set()
        for folder in here:
            step = os.path.join(glob.escape(folder), part)
            inner = {path for path in glob.iglob(step) if os.path.isdir(path)}
            if glob.has_magic(part) or not inner:
                watched.add(folder)
            deeper |= inner
        here = deeper
    return {folder for folder in watched | here if os.access(folder, os.R_OK | os.X_OK)}


def _refused(path: str) -> str:
    if _is_socket(path):
        return f"nothing listens on {path}: connection refused (is the driver running?)"
    return f"{path} is no socket"


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _target(path: str) -> Target:
    if match := _NOMAD_SOCKET.fullmatch(path):
        return _nomad_target(path, *match.groups())
    file = Path(path)
    return Target(path, plugin_id(file.parent.name if file.name == SOCKET_FILE else file.stem))


def _nomad_target(path: str, root: str, alloc_id: str) -> Target:
    """Nomad names the socket's folder by the allocation, and makes another by the plugin's ID.

    Only where that is one ID can it be told whose it is.
    """
    ids = {
        folder.name
        for kind in _NOMAD_KINDS
        for folder in Path(root, kind).glob("*")
        if folder.is_dir() and ID_PATTERN.fullmatch(folder.name)
    }
    return Target(path, ids.pop()) if len(ids) == 1 else Target(path, alloc_id, driver_names=True)
