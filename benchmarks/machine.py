"""Describes the machine and the versions of the programs that ran on it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

_PACKAGES = ("waitress", "granian", "uvicorn", "flask", "orjson", "grpcio")


def machine() -> dict[str, str]:
    """Return what a reader has to know about the machine, by name."""
    cores = len(os.sched_getaffinity(0))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return {
        "processor": f"{_model()}, {cores} {'core' if cores == 1 else 'cores'}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "load before the run": load,
        "Python": platform.python_version(),
        "packages": ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name))),
        "programs": ", ".join(filter(None, (_program("wrk", "-v"), _program("etcd", "--version")))),
    }


def _model() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _program(name: str, option: str) -> str:
    """Return a program's name and version; "" if it is not installed."""
    if shutil.which(name) is None:
        return ""
    done = subprocess.run([name, option], capture_output=True, text=True, timeout=10)
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return f"{name} {found[0]}" if found else name
