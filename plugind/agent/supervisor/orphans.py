"""Ends processes that probers and their checks leave behind, as long as the agent lives.

A process that calls setsid(2) leaves its process group, so that no signal to the group reaches it.
When its parent ends, the kernel makes the agent its parent, because the agent asked for that
(PR_SET_CHILD_SUBREAPER). Here such a process is killed after a time in which a check that is still
at work may need it (an ssh that went to the background, say), and its exit status is collected.

The agent's process has other children: the probers, whose exit statuses their supervisors collect,
and whatever packages start in a server that runs in the same process. Their statuses must not be
taken from them. A process that comes from a prober is known by its ``oom_score_adj``: a prober sets
its own to the maximum before it runs anything else, every descendant inherits it, and it can still
be read when a process has ended (proc_pid_oom_score_adj(5)). A process with enough privileges can
change it, and is not found then.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from plugind import logs
from plugind.agent import kernel
from plugind.health.threads import OwnedThread

GRACE = 10.0
"""Seconds that a process may go on after its parent ended."""

LOOK_INTERVAL = 0.5
"""Seconds between two looks. Only what an earlier look has seen is touched, so that a prober that
just started is known to ``probers`` by then."""

OOM_SCORE_MAXIMUM = "1000"
"""The ``oom_score_adj`` of probers: when memory is short, the kernel ends them first."""

_ENDING = 2.0

_log = logs.get("agent")


class Orphans:
    """Adopts and ends orphans from ``start`` to ``stop``; one for each process.

    ``probers`` returns the process IDs of the probers. ``grace`` is in seconds.
    """

    def __init__(self, probers: Callable[[], Collection[int]], grace: float = GRACE) -> None:
        self._probers = probers
        self._grace = grace
        self._seen: dict[int, float] = {}
        self._stopping = threading.Event()
        self.thread = OwnedThread("orphans", self._run, restarts=True)

    def start(self) -> None:
        """Begin. Leave orphans to the init process where they cannot be distinguished from other
        children."""
        if _score(os.getpid()) == OOM_SCORE_MAXIMUM or not _children_file().exists():
            return
        try:
            kernel.adopt_orphans(True)
        except OSError as error:
            _log.warning("orphans of probers cannot be adopted", reason=error.strerror)
            return
        self.thread.start()

    def stop(self) -> None:
        """End all orphans, and adopt no more. The probers must have ended before."""
        if self.thread.ident is None:
            return
        self._stopping.set()
        self.thread.join()
        self._grace = 0.0
        deadline = time.monotonic() + _ENDING
        self._look()
        while self._look() and time.monotonic() < deadline:  # killing one may bring others
            time.sleep(0.01)
        with suppress(OSError):
            kernel.adopt_orphans(False)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_INTERVAL):
            self._look()

    def _look(self) -> bool:
        """Collect and kill orphans that an earlier look has seen; return whether there are any."""
        now = time.monotonic()
        known = set(self._probers())
        there = {pid for pid in _children() if pid not in known}
        orphans = {pid for pid in there if _score(pid) == OOM_SCORE_MAXIMUM}
        self._seen = {pid: self._seen.get(pid, now) for pid in orphans}
        for pid, since in self._seen.items():
            if since == now or _has_ended(pid) or now - since < self._grace:
                continue
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _log.debug("an orphan of a prober was ended", pid=pid)
        return bool(orphans)


def _children_file() -> Path:
    """Return the file that lists the main thread's children; the kernel adopts on its behalf."""
    pid = os.getpid()
    return Path(f"/proc/{pid}/task/{pid}/children")


def _children() -> list[int]:
    try:
        return [int(pid) for pid in _children_file().read_text().split()]
    except OSError:
        return []


def _score(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/oom_score_adj").read_text().strip()
    except OSError:
        return ""


def _has_ended(pid: int) -> bool:
    """Return whether a child has ended, and collect its exit status if so."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True
