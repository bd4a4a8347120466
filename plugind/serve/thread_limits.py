"""Checks how many threads the process may have.

Threads are started only when they are needed. Whether the process may have them is checked before,
so that a server that could not park its queries does not start.
"""

from __future__ import annotations

import mmap
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CGROUP = Path("/proc/self/cgroup")
_HIERARCHIES = {"": Path("/sys/fs/cgroup"), "pids": Path("/sys/fs/cgroup/pids")}
"""Where the control groups that count tasks are, by controllers: cgroup versions 2 and 1."""

_NO_ACCESS = 0  # PROT_NONE of mmap(2): such a mapping counts towards no other limit
_STACK = 2 * 2**20
"""Bytes of a thread's stack if no limit is set (glibc)."""


def why_too_many(threads: int) -> str:
    """Return why the process may not have ``threads`` more threads, "" if it may."""
    if not _has_room(threads * _stack()):
        return "their stacks take more address space than the process may have (ulimit -v)"
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if os.geteuid() != 0 and 0 <= soft < threads:
        return f"the user may have {soft} (ulimit -u)"
    left, file = min(_left(), default=(threads, ""))
    return f"{left} more may be there by {file} (TasksMax of the unit)" if left < threads else ""


def _stack() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return _STACK if soft == resource.RLIM_INFINITY else soft


def _has_room(size: int) -> bool:
    """Return whether ``size`` bytes can be mapped. The mapping takes no memory, and is removed."""
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE, prot=_NO_ACCESS).close()
    except (OSError, OverflowError):
        return False
    return True


def _left() -> Iterator[tuple[int, str]]:
    """Yield how many more tasks each control group of the process may have, and the file with that
    limit."""
    for folder in _groups():
        with suppress(OSError, ValueError):  # the group has another controller, or no limit
            most = int((folder / "pids.max").read_text())
            yield most - int((folder / "pids.current").read_text()), str(folder / "pids.max")


def _groups() -> Iterator[Path]:
    """Yield the folders of the control groups of the process, from the innermost outward."""
    with suppress(OSError):
        for line in _CGROUP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if (top := _HIERARCHIES.get(controllers)) is not None:
                inner = top / path.strip("/")
                yield from (each for each in (inner, *inner.parents) if each.is_relative_to(top))
