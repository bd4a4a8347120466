"""What the kernel reports about this process, under the names of prometheus-client's metrics."""

from __future__ import annotations

import os
import resource
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from plugind.metrics.snapshot import CPU

_OWN = Path("/proc/self")
_BOOTED = Path("/proc/stat")
_START = 19  # index among the values after the name in /proc/self/stat: proc(5)


def process_values(cpu_before: float = 0.0) -> dict[str, float]:
    """Return the metrics of this process by name, without those that /proc does not have. The
    ``cpu_before`` seconds of processor time that earlier processes took are added."""
    values = {CPU: time.process_time() + cpu_before}
    with suppress(OSError, ValueError):
        size, resident = map(int, (_OWN / "statm").read_text().split()[:2])
        values["process_virtual_memory_bytes"] = size * resource.getpagesize()
        values["process_resident_memory_bytes"] = resident * resource.getpagesize()
        values["process_open_fds"] = len(list((_OWN / "fd").iterdir()))
    with suppress(OSError, ValueError):  # not every /proc has the boot time
        values["process_start_time_seconds"] = _started()
    values["process_max_fds"] = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return values


@cache
def _started() -> float:
    """Return when this process was started, in seconds since the epoch. Raise OSError or ValueError
    if /proc does not have it."""
    (booted,) = (
        line.split()[1] for line in _BOOTED.read_text().splitlines() if line.startswith("btime ")
    )
    ticks = (_OWN / "stat").read_text().rpartition(")")[2].split()[_START]
    return int(booted) + int(ticks) / os.sysconf("SC_CLK_TCK")
