"""Which process runs on a data_dir: a file for each role, locked as long as the process lives.

The kernel knows who holds the lock, so a file that one who was killed left behind misleads nobody;
what is written in it is for people.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plugind.errors import PlugindError

_FLOCK = struct.Struct("hhqqi4x")  # fcntl(2): l_type, l_whence, l_start, l_len, l_pid


@contextmanager
def announced(data_dir: Path, role: str) -> Iterator[None]:
    """Lets others find this process as the one of that role. Raises PlugindError."""
    file = pid_file(data_dir, role)
    try:
        held = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise PlugindError(f"{file}: {error.strerror}") from error
    try:
        _take(held, file, role)
        os.write(held, f"{os.getpid()}\n".encode())
        yield
        os.ftruncate(held, 0)
    finally:
        os.close(held)


def running(data_dir: Path, role: str) -> int | None:
    """The process that runs on ``data_dir`` in that role; None when there is none.

    Raises PlugindError when it cannot be known.
    """
    file = pid_file(data_dir, role)
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PlugindError(f"{file}: {error.strerror}") from error
    try:
        return _holder(handle, file)
    finally:
        os.close(handle)


def left_behind(data_dir: Path, role: str) -> str:
    """What the file of a role still says where nobody runs; "" when it says nothing."""
    try:
        return pid_file(data_dir, role).read_text(errors="replace").strip()
    except OSError:
        return ""


def pid_file(data_dir: Path, role: str) -> Path:
    return data_dir / f"{role}.pid"


def _take(held: int, file: Path, role: str) -> None:
    try:
        fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        text = f"another plugind runs as {role} on data_dir {file.parent}: stop it first"
        raise PlugindError(text) from error
    os.ftruncate(held, 0)


def _holder(handle: int, file: Path) -> int | None:
    wanted = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
    type_, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(handle, fcntl.F_GETLK, wanted))
    if type_ == fcntl.F_UNLCK:
        return None
    if pid <= 0:
        raise PlugindError(
            f"{file}: its process is not to be seen from here; is it in a container?"
        )
    return int(pid)
