"""The process that runs on a data_dir: a file for each role, locked while the process lives.

The kernel knows which process holds the lock, so a file left behind by a killed process does not
mislead any program; the text in the file is only for people. Another file next to it has the
digests of the settings that the process was started with; ``plugind reload`` compares them.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from plugind.errors import PlugindError

_FLOCK = struct.Struct("hhqqi4x")  # fcntl(2): l_type, l_whence, l_start, l_len, l_pid


@contextmanager
def announced(
    data_dir: Path, role: str, settings: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Let other processes find this one as the process with that role, until the block ends.

    ``settings`` are the digests that ``plugind.config.restart.fixed`` returned. Raise PlugindError
    when another process has that role, or a file cannot be written.
    """
    file = pid_file(data_dir, role)
    with _opened(file) as held:
        _take(held, file, role)
        with _opened(settings_file(data_dir, role)) as other:
            _write(other, settings_file(data_dir, role), json.dumps(settings or {}))
        _write(held, file, f"{os.getpid()}\n")
        yield
        with suppress(OSError):  # The lock shows that text left in the file is stale.
            os.ftruncate(held, 0)


def running(data_dir: Path, role: str) -> int | None:
    """Return the ID of the process that runs on ``data_dir`` in that role; None when there is none.

    Raise PlugindError when it cannot be determined.
    """
    file = pid_file(data_dir, role)
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PlugindError(f"{file}: {error.strerror}") from error
    try:
        return _holder(handle, file)
    finally:
        os.close(handle)


def started_with(data_dir: Path, role: str) -> Mapping[str, str]:
    """Return the digests that ``announced`` wrote for the role; none when they cannot be read."""
    try:
        found = json.loads(_content(settings_file(data_dir, role)))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def left_behind(data_dir: Path, role: str) -> str:
    """Return the text in the file of a role that no process has; "" when the file is empty."""
    return _content(pid_file(data_dir, role)).strip()


def pid_file(data_dir: Path, role: str) -> Path:
    return data_dir / f"{role}.pid"


def settings_file(data_dir: Path, role: str) -> Path:
    return data_dir / f"{role}.settings"


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    """Open a file for reading and writing until the block ends; create it if it is missing.

    Raise PlugindError when that fails, and for anything but a regular file: a pipe or a device
    keeps no text, and could make this process wait.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        handle = os.open(file, flags, 0o644)
    except OSError as error:
        raise _unusable(file, error.strerror or str(error)) from error
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise _unusable(file, "it is not a regular file; remove it")
        yield handle
    finally:
        os.close(handle)


def _write(handle: int, file: Path, text: str) -> None:
    try:
        os.ftruncate(handle, 0)
        os.write(handle, text.encode())
    except OSError as error:
        raise _unusable(file, error.strerror or str(error)) from error


def _content(file: Path) -> str:
    """Return the text of a regular file; "" when it cannot be read."""
    try:
        return file.read_text(errors="replace") if file.is_file() else ""
    except OSError:
        return ""


def _unusable(file: Path, reason: str) -> PlugindError:
    return PlugindError(f"{file}: {reason}")


def _take(held: int, file: Path, role: str) -> None:
    try:
        fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:  # fcntl(2) allows either.
        text = f"another plugind runs as {role} on data_dir {file.parent}: stop it first"
        raise PlugindError(text) from error
    except OSError as error:  # For example, the file system has no locks.
        raise _unusable(file, error.strerror or str(error)) from error


def _holder(handle: int, file: Path) -> int | None:
    wanted = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
    type_, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(handle, fcntl.F_GETLK, wanted))
    if type_ == fcntl.F_UNLCK:
        return None
    if pid <= 0:
        raise PlugindError(f"{file}: its process cannot be seen from here; is it in a container?")
    return int(pid)
