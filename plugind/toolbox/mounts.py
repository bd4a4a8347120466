"""The mounts of a process: the source folder of each (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os
import re

_ESCAPE = re.compile(r"\\([0-7]{3})")
_DELETED = "//deleted"

TEXT_MAXIMUM = 4 << 20
"""The most bytes of a mountinfo file that are read."""


def mount_roots(pid: int) -> tuple[str, ...]:
    """Return the roots of the mounts of a process; none if they may not be read."""
    try:
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            return roots_in(os.fsdecode(file.read(TEXT_MAXIMUM)))
    except OSError:
        return ()


def roots_in(mountinfo: str) -> tuple[str, ...]:
    """Return the root of each mount in a text in the format of /proc/PID/mountinfo, in order.

    A root is the path of the mounted folder within its own file system, so only the end of the root
    can be compared with a path on the host. Lines in any other format are skipped.
    """
    fields = (line.split(" ") for line in mountinfo.split("\n"))
    return tuple(
        # The kernel escapes blanks, tabs, new lines and backslashes: "\040".
        _ESCAPE.sub(lambda match: chr(int(match[1], 8) & 0xFF), parts[3].removesuffix(_DELETED))
        for parts in fields
        if len(parts) >= 10 and parts[3].startswith("/")
    )
