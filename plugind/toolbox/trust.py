"""Finds files and links that users other than root could use against an agent that runs as root.

Such an agent must not run a program, read a configuration or connect to a socket that another user
chose. If only root can change a file and every folder and link that leads to it, nobody else can
replace the file between the check and its use.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence

from plugind.toolbox._scripts import script_path_of

ROOT = 0
LINKS_MAXIMUM = 40
"""The most symbolic links in one path, as in the kernel (path_resolution(7))."""


def why_untrusted(path: str) -> str:
    """Return why root must not run or read the file at ``path``; "" if it may.

    The file, each folder above it and each symbolic link on the way must belong to root and be
    writable by nobody else. Two exceptions: they may be writable by the group if it is root's, and
    a folder with the sticky bit may be writable by all, because there only owners can replace their
    entries. Return "" for an agent that does not run as root, and for a path that does not exist:
    using the path reports the reason.
    """
    if os.geteuid() != ROOT:
        return ""
    try:
        return _untrusted(path)
    except (OSError, ValueError):
        return ""


def why_not_run(command: Sequence[str], search: str) -> str:
    """Return why root must not run a command; "" if it may, or if the agent does not run as root.

    ``why_untrusted`` is applied to the program, to the interpreter that the first line of a script
    names, and to the script that ``command`` gives to an interpreter. ``search`` is the PATH in
    which a name without a slash is looked up. Raise OSError for a program that does not exist, so
    that it is not run if it appears a moment later.
    """
    if os.geteuid() != ROOT:
        return ""
    program = shutil.which(command[0], path=search) or command[0]
    if reason := _untrusted(program):
        return reason
    interpreter = _interpreter(program)
    script = script_path_of(command)
    further = [interpreter, os.path.join("/", script) if "/" in script else ""]
    return next(filter(None, map(why_untrusted, filter(None, further))), "")


def why_diverted(path: str) -> str:
    """Return why the socket at ``path`` must not be connected to; "" if it may.

    A symbolic link on the way must belong to root or to the agent's user, because another user's
    link may lead to a socket that only the agent can reach.
    """
    allowed = (ROOT, os.geteuid())
    try:
        for place, status in _places(path):
            if stat.S_ISLNK(status.st_mode) and status.st_uid not in allowed:
                return f"{place} is a symbolic link of user {status.st_uid}, which is not followed"
    except (OSError, ValueError):
        pass
    return ""


def _untrusted(path: str) -> str:
    for place, status in _places(path):
        if status.st_uid != ROOT:
            return (
                f"{place} belongs to user {status.st_uid}: what root runs or reads must be root's"
            )
        if not stat.S_ISLNK(status.st_mode) and _others_write(status):
            return f"{place} can be written by others than root"
    return ""


def _interpreter(program: str) -> str:
    """Return the path of the interpreter that a script names (execve(2)); "" if not a script."""
    try:
        with open(program, "rb") as file:
            line = file.read(256).partition(b"\n")[0]
    except OSError:
        return ""
    words = os.fsdecode(line.removeprefix(b"#!")).split() if line.startswith(b"#!") else []
    return words[0] if words else ""


def _others_write(status: os.stat_result) -> bool:
    mode = status.st_mode
    if stat.S_ISDIR(mode) and mode & stat.S_ISVTX:
        return False
    return bool(mode & stat.S_IWOTH or (mode & stat.S_IWGRP and status.st_gid != ROOT))


def _places(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every file, folder and symbolic link on the kernel's way to ``path``, with its status.

    Raise OSError for a path that does not exist or cannot be examined.
    """
    left = [part for part in os.path.abspath(path).split("/") if part]
    here, links = "/", 0
    yield here, os.lstat(here)
    while left:
        part = left.pop(0)
        place = os.path.normpath(os.path.join(here, part))
        status = os.lstat(place)
        yield place, status
        if not stat.S_ISLNK(status.st_mode):
            here = place
            continue
        links += 1
        if links > LINKS_MAXIMUM:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = os.readlink(place)
        here = "/" if target.startswith("/") else here
        left = [part for part in target.split("/") if part and part != "."] + left
