"""Notices what SQLite does not: that its names no longer refer to the files that it writes to."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from plugind.store.sqlite.file import Damaged


def check_before_opening(path: Path) -> None:
    """Raise errors that SQLite would pass over: OSError for a file that it could only read, and
    Damaged for a log whose file is gone, because SQLite would discard the log and start afresh.

    The files are not opened: if another store in this process has one open, closing it would drop
    SQLite's locks on it (https://sqlite.org/howtocorrupt.html, section 2.2).
    """
    for each in (path, _log_of(path)):
        if each.exists() and not os.access(each, os.R_OK | os.W_OK):
            is_read_only = os.statvfs(each).f_flag & os.ST_RDONLY
            code = errno.EROFS if is_read_only else errno.EACCES
            raise OSError(code, os.strerror(code), str(each))
    (_, size), (_, of_log) = _shape(path), _shape(_log_of(path))
    if of_log and not size:
        raise Damaged(f"its log {_log_of(path).name} is there, {path.name} is gone or empty")


class Guard:
    """Notices when another program moves, removes, replaces or cuts short an open database or its
    log: SQLite would go on writing to a file that nobody finds after a restart.

    ``others`` are files through which other processes notice changes: they must stay as well.
    """

    def __init__(self, path: Path, *others: Path) -> None:
        self._paths = (path, _log_of(path), *others)
        self._known = [_shape(path) for path in self._paths]

    def check(self, is_whole: Callable[[], bool]) -> None:
        """Raise Damaged for a file that was replaced or is too short.

        Other processes may checkpoint the log: that changes it in place, and its file keeps its
        size. A file may rightly be shorter than before only if another program has truncated the
        log after a checkpoint. ``is_whole`` finds that out by reading the files again.
        """
        now = [_shape(path) for path in self._paths]
        for path, (known, size), (found, length) in zip(self._paths, self._known, now, strict=True):
            if found != known:
                raise Damaged(
                    f"{path.name} was moved, removed or replaced while the server runs: put it "
                    "back, or restart the server"
                )
            if length < size and not is_whole():
                raise Damaged(f"{path.name} was cut short while the server runs")
        self._known = now


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _shape(path: Path) -> tuple[tuple[int, int], int]:
    """Return which file a name refers to (device and inode), and its size in bytes."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return (0, 0), 0
    return (found.st_dev, found.st_ino), found.st_size
