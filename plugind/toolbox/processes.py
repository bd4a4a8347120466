"""The processes behind plugins: who listens on a socket, and what it is a part of.

Best effort: where nobody can be found, or it may not be looked at, there is None. The kernel names
the process that called listen(), which is not always the one that answers: one that forked after it
may be dead, one in another PID namespace is 0 here, and a socket of systemd's is held by process 1.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from plugind.fields import INT64_MAX, SECOND, tame

Description = dict[str, Any]
"""``Key``, which no other process has; ``JobID``, the systemd unit that it is a part of, else the
container, else its name; ``TaskGroup``, its name; ``Name``, for people, all of that and its ID;
``CreateTime``, when it started, in nanoseconds."""

NAME_MAXIMUM = 128

_INIT = 1
_CLOCK_SLACK = 2.0  # seconds: the time of boot, from which others are counted, is a whole number
_TEXTS = ("Key", "Name", "JobID", "TaskGroup")
_SHORT_ID = 12  # characters of a container's ID that its own tools show
_CONTAINER = re.compile(r"(?:.*[-:])?([0-9a-f]{64})(?:\.scope)?")
_NAMED_CONTAINER = re.compile(r"lxc\.payload\.(.+)|machine-(.+)\.scope")
_CARETAKERS = re.compile(r"(user@\d+|containerd|crio|docker|kubelet|podman)\.service")
_DELETED = " (deleted)"


def behind_socket(path: str) -> Description | None:
    """The process that listens on a unix socket; it is connected to for a moment."""
    try:
        bound = os.stat(path).st_mtime
        pid = _peer(path)
    except (OSError, ValueError):
        return None
    return of_pid(pid, by=bound + _CLOCK_SLACK)


def of_pid(pid: int, by: float = float("inf")) -> Description | None:
    """A process by its ID, if it had started ``by`` then (seconds since the epoch): one that is
    younger got an ID that was used before."""
    if pid <= _INIT:
        return None
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            created = round(process.create_time(), 2)
            name = tame(process.name(), NAME_MAXIMUM)
            is_dead = process.status() == psutil.STATUS_ZOMBIE
        owner = owner_of(Path(f"/proc/{pid}/cgroup").read_text(errors="replace"))
        key = _key(pid)
    except (psutil.Error, OSError, ValueError, IndexError):
        return None
    if is_dead or created > by or not process.is_running():
        return None
    return {
        "Key": key,
        "Name": f"{owner and f'{owner}.'}{name}[{pid}]",
        "JobID": owner or name,
        "TaskGroup": name,
        "CreateTime": round(created * 100) * (SECOND // 100),
    }


def is_description(value: Any) -> bool:
    """Whether that is what the functions above give of a process."""
    if not isinstance(value, Mapping) or value.keys() != {*_TEXTS, "CreateTime"}:
        return False
    created = value["CreateTime"]
    is_time = isinstance(created, int) and not isinstance(created, bool)
    return is_time and 0 <= created <= INT64_MAX and all(isinstance(value[t], str) for t in _TEXTS)


def owner_of(cgroups: str) -> str:
    """The systemd unit, else the container, that a process is a part of, from what is in its
    /proc/PID/cgroup (cgroups(7)); "" when it is of neither.

    A container that a service starts within itself is that service's.
    """
    for path in _paths(cgroups):
        if owner := _owner(path.removesuffix(_DELETED).split("/")):
            return owner
    return ""


def _paths(cgroups: str) -> Iterator[str]:
    """The paths in each hierarchy, systemd's own before the others."""
    lines = [line.split(":", 2) for line in cgroups.splitlines()]
    parts = [line for line in lines if len(line) == 3]
    for systemds in (True, False):
        yield from (path for _, kind, path in parts if (kind in ("", "name=systemd")) is systemds)


def _owner(parts: list[str]) -> str:
    services = [
        part for part in parts if part.endswith(".service") and not _CARETAKERS.fullmatch(part)
    ]
    if services:
        return tame(services[-1], NAME_MAXIMUM)
    for before, part in zip(["", *parts], parts, strict=False):
        if found := _CONTAINER.fullmatch(part):
            return found[1][:_SHORT_ID]
        if found := _NAMED_CONTAINER.fullmatch(part):
            return tame(found[1] or found[2], NAME_MAXIMUM)
        if before == "lxc":
            return tame(part, NAME_MAXIMUM)
    return tame(next((part for part in parts if part.endswith(".service")), ""), NAME_MAXIMUM)


def _peer(path: str) -> int:
    """Who called listen() on a socket (unix(7), SO_PEERCRED)."""
    form = "3i"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        probe.connect(path)
        found = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(form))
    pid: int = struct.unpack(form, found)[0]
    return pid


def _key(pid: int) -> str:
    """What no other process of this kernel has had: its ID may be used again, but neither in
    another boot nor for one that starts in the same moment (proc_pid_stat(5))."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    started = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    return f"{boot}/{pid}/{started}"
