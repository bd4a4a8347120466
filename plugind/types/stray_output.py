"""Keeps the output of packages away from standard output.

Packages are third-party code, and some print when they are imported or called. Standard output
carries the answer of a command, often JSON for another program, so such text goes to standard
error.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress

_lock = threading.Lock()
_undo = ExitStack()
_depth = 0


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send everything that is printed while the block lasts to standard error.

    This includes ``print`` and writes to file descriptor 1, as by C code and child processes.
    Blocks may be nested and may run in several threads; the first to begin redirects and the last
    to end restores. The lock is never held while the block runs.
    """
    global _depth
    with _lock:
        if _depth == 0:
            _redirect(_undo)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _undo.close()


def _redirect(undo: ExitStack) -> None:
    """Redirect both Python's standard output and its file descriptor, and note how to undo it."""
    _flush()  # text that the command itself printed before belongs to its answer
    with suppress(OSError):  # either may be closed, and then there is nothing to redirect
        before = os.dup(1)
        undo.callback(os.close, before)
        undo.callback(os.dup2, before, 1)
        os.dup2(2, 1)
    if sys.stderr is not None:
        undo.enter_context(redirect_stdout(sys.stderr))
    undo.callback(_flush)  # called first, while the descriptor still leads to standard error


def _flush() -> None:
    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
