"""Processes that do not end by themselves, and endless signals; in a separate process.

``python -m tests.attacks.processes SERVER_PID FOLDER`` starts an agent with a prober that starts
processes and then holds the interpreter lock forever. It kills that prober again and again, and
sends SIGHUP to the server without pause. The IDs of the processes are written to FOLDER.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.attacks.attacker import at_it

ROGUE = Path(__file__).parent.parent / "agent/rogue.py"
HANGUP_EVERY = 0.01
KILL_EVERY = 0.5


def pids(folder: Path) -> list[int]:
    """Return the processes that the prober started, and the prober that is running."""
    found: list[int] = []
    for name in ("prober", "grouped", "escaped"):
        with suppress(OSError):
            found += map(int, (folder / name).read_text().split())
    return found


def main(server: str, folder: str) -> None:
    counts: Counter[str] = Counter()
    command = [sys.executable, str(ROGUE), "agent", folder]
    environ = {**os.environ, "PYTHONPATH": os.getcwd()}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=subprocess.DEVNULL, env=environ):
        while len(pids(Path(folder))) < 3:
            time.sleep(0.05)
        at_it(counts)
        killed = time.monotonic()
        while True:
            os.kill(int(server), signal.SIGHUP)
            counts["hangups"] += 1
            time.sleep(HANGUP_EVERY)
            if time.monotonic() - killed > KILL_EVERY and (found := pids(Path(folder))):
                killed = time.monotonic()
                with suppress(ProcessLookupError):
                    os.kill(found[0], signal.SIGKILL)
                    counts["kills"] += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
