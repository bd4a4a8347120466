"""The entry point of the command ``plugind``, which runs before everything else is imported.

A long-running process can get signals from its first moment on, while the imports alone take some
tenths of a second. As the first process of a container, it must also reap orphans.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from pkgutil import resolve_name

from plugind.init import become_init

_LONG_RUNNING = "agent"


def main() -> None:
    """Run the command line."""
    if _LONG_RUNNING in sys.argv[1:2]:
        if os.getpid() == 1:
            become_init()
        # SIGHUP would end a process that has no handler yet. The command unblocks the signal.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        # Imports leave nothing to collect. The command turns garbage collection on again.
        gc.disable()
    resolve_name("plugind.cli:main")()
