"""The first process of a container, which only reaps orphans and forwards signals.

The kernel makes PID 1 the parent of every process whose parent has ended (pid_namespaces(7)), such
as a process that a check of a plugin left in the background. Unless the parent waits for it, an
ended process remains a zombie. plugind itself cannot wait for arbitrary children, because that
would take exit statuses away from ``subprocess`` in another thread. So plugind runs in a child
process, which has only its own children, and the first process waits for all others.
"""

from __future__ import annotations

import os
import signal

# Signals that are not forwarded: SIGCHLD, those caused by faults in this process itself, and those
# that no process can handle.
_KEPT = {
    signal.SIGCHLD,
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGABRT,
    signal.SIGSYS,
}
_FORWARDED = signal.valid_signals() - _KEPT


def become_init() -> None:
    """Fork; return in the child, but never in the parent.

    The parent exits as the child does: with its status, or with 128 plus the number of the signal
    that ended it.
    """
    waited_for = _FORWARDED | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while True:
        number = signal.sigwait(waited_for)
        if number != signal.SIGCHLD:
            os.kill(child, number)
        elif (status := _reap(child)) is not None:
            os._exit(status if status >= 0 else 128 - status)


def _reap(child: int) -> int | None:
    """Wait for all children that have ended; return the status of ``child`` if it is one of them.

    The status is the negative number of a signal if that ended the child. None means that ``child``
    is still running.
    """
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = os.waitstatus_to_exitcode(status)
