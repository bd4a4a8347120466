"""The processes behind plugins: the process that listens on a socket, and the unit it belongs to.

This is best effort: the result is None if no process can be found, or it may not be examined. The
kernel names the process that called listen(), which is not always the process that answers. A
process that forked afterwards may be dead, a process in another PID namespace has the ID 0 here,
and a socket that systemd created belongs to process 1.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from plugind.model.times import INT64_MAX, SECOND
from plugind.toolbox._scripts import script_path_of as script_path_of
from plugind.wire.texts import is_node_id, tame

Description = dict[str, Any]
"""The description of a process, with these keys: ``Key``, which is unique to the process;
``JobID``, the systemd unit that it belongs to, else its container, else the script that it runs,
else its name; ``TaskGroup``, its name; ``Name``, a text for people that combines these two and its
ID; ``CreateTime``, the time of its start in nanoseconds since the epoch. A plugin type that knows
the process's allocation (a UUID) may add it as ``AllocID``, and use other names."""

NAME_MAXIMUM = 128

_ENVIRONMENT_MAXIMUM = 256 << 10  # bytes
_ARGUMENTS_MAXIMUM = 16 << 10
_INIT = 1
_CLOCK_SLACK = 2.0  # seconds; start times count from the time of boot, a whole number of seconds
_TEXTS = ("Key", "Name", "JobID", "TaskGroup")
_SHORT_ID = 12  # characters of a container's ID that its own tools show
_CONTAINER = re.compile(r"(?:.*[-:])?([0-9a-f]{64})(?:\.scope)?")
_NAMED_CONTAINER = re.compile(r"lxc\.payload\.(.+)|machine-(.+)\.scope")
_CARETAKERS = re.compile(r"(user@\d+|containerd|crio|docker|kubelet|podman)\.service")
_DELETED = " (deleted)"


def behind_socket(path: str) -> Description | None:
    """Return the process that listens on a unix socket, by connecting to it for a moment."""
    found = pid_behind_socket(path)
    return found and found[1]


def pid_behind_socket(path: str) -> tuple[int, Description] | None:
    """Return the ID and the description of the process that listens on a unix socket.

    This connects to the socket for a moment. Return None if the process cannot be found.
    """
    try:
        bound = os.stat(path).st_mtime
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            probe.connect(path)
            size = struct.calcsize("3i")
            peer = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        pid, _, _ = struct.unpack("3i", peer)  # it called listen(): unix(7), SO_PEERCRED
    except (OSError, ValueError):
        return None
    found = of_pid(pid, by=bound + _CLOCK_SLACK)
    return (pid, found) if found else None


def runs(key: str) -> bool:
    """Return whether the process with that ``Key`` is still running."""
    pid = key.split("/")[1] if key.count("/") == 2 else ""
    found = of_pid(int(pid)) if pid.isascii() and pid.isdigit() and len(pid) < 10 else None
    return found is not None and found["Key"] == key


def environment(pid: int, names: Collection[str]) -> dict[str, str]:
    """Return the environment variables of a process that are in ``names``.

    Each value is one line of at most NAME_MAXIMUM characters. The result is empty if the
    environment may not be read (proc_pid_environ(5)).
    """
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            data = file.read(_ENVIRONMENT_MAXIMUM)
    except OSError:
        return {}
    pairs = (entry.partition("=") for entry in data.decode(errors="replace").split("\0"))
    return {name: printable(value) for name, equals, value in pairs if equals and name in names}


def printable(text: str) -> str:
    """Return text from a process as one line that is safe to show.

    It has at most NAME_MAXIMUM characters, and no control characters, which could affect a
    terminal.
    """
    plain = "".join(each if each.isprintable() else " " for each in text[: 4 * NAME_MAXIMUM])
    return tame(plain, NAME_MAXIMUM)


def of_pid(pid: int, by: float = float("inf")) -> Description | None:
    """Return the description of a process, given its ID; None if it started later than ``by``.

    ``by`` is in seconds since the epoch. A process that started later has a reused ID. Also return
    None if the process does not exist, is dead, or may not be examined.
    """
    if pid <= _INIT:
        return None
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            created = round(process.create_time(), 2)
            name = printable(process.name())
            is_dead = process.status() == psutil.STATUS_ZOMBIE
        owner = owner_of(Path(f"/proc/{pid}/cgroup").read_text(errors="replace"))
        part_of = owner or script_of(_arguments(pid))
        key = _key(pid)
    except (psutil.Error, OSError, ValueError, IndexError):
        return None
    if is_dead or created > by or not process.is_running():
        return None
    return {
        "Key": key,
        "Name": f"{part_of and f'{part_of}.'}{name}[{pid}]",
        "JobID": part_of or name,
        "TaskGroup": name,
        "CreateTime": round(created * 100) * (SECOND // 100),
    }


def is_description(value: Any) -> bool:
    """Return whether a value has the form of a ``Description``."""
    if not isinstance(value, Mapping) or value.keys() - {"AllocID"} != {*_TEXTS, "CreateTime"}:
        return False
    created = value["CreateTime"]
    is_time = isinstance(created, int) and not isinstance(created, bool)
    texts = all(isinstance(value[name], str) for name in _TEXTS)
    alloc_id = value.get("AllocID")
    is_uuid = alloc_id is None or (isinstance(alloc_id, str) and is_node_id(alloc_id))
    return is_time and 0 <= created <= INT64_MAX and texts and is_uuid


def owner_of(cgroups: str) -> str:
    """Return the systemd unit, else the container, that a process belongs to; "" for neither.

    ``cgroups`` is the text of its /proc/PID/cgroup (cgroups(7)). A container that a service starts
    inside its own cgroup belongs to that service.
    """
    for path in _paths(cgroups):
        if owner := _owner(path.removesuffix(_DELETED).split("/")):
            return owner
    return ""


def script_of(arguments: Sequence[str]) -> str:
    """Return the name of the script, module or archive that an interpreter runs.

    ``arguments`` are the command line of the process. The result is "" for any other program, and
    for a command in a string.
    """
    return printable(os.path.basename(script_path_of(arguments)))


def _arguments(pid: int) -> list[str]:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        data = file.read(_ARGUMENTS_MAXIMUM)
    return data.decode(errors="replace").rstrip("\0").split("\0")


def _paths(cgroups: str) -> Iterator[str]:
    """Yield the path in each cgroup hierarchy, systemd's own hierarchy first."""
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


def _key(pid: int) -> str:
    """Return a text that identifies a process among all that ever run on this machine.

    An ID may be reused, but not in the same boot for a process that starts in the same clock tick
    (proc_pid_stat(5)).
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    started = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    return f"{boot}/{pid}/{started}"
