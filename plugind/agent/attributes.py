"""The attributes of this machine's node, under Nomad's names."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import suppress

from plugind import __version__

_ARCHITECTURES: Mapping[str, str] = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "i386": "386",
    "i686": "386",
    "armv6l": "arm",
    "armv7l": "arm",
}
"""Go's names of architectures, which Nomad uses, if they differ from the kernel's."""


def attributes() -> dict[str, str]:
    """Return the attributes of this machine; those that it does not report are left out."""
    kernel = platform.uname()
    release: Mapping[str, str] = {}
    with suppress(OSError):
        release = platform.freedesktop_os_release()
    known = {
        "cpu.arch": _ARCHITECTURES.get(kernel.machine, kernel.machine),
        "kernel.name": kernel.system.lower(),
        "kernel.version": kernel.release,
        "os.name": release.get("ID", ""),
        "os.version": release.get("VERSION_ID", ""),
        "plugind.version": __version__,
        "unique.hostname": kernel.node,
    }
    return {name: value for name, value in known.items() if value}
