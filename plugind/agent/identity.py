"""The node's identity: its ID and its secret, generated only once and kept in ``data_dir``.

The first report pins the secret to the ID. An agent that has lost one of them, or shares them with
another agent, must therefore stop with an error rather than generate new ones.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from plugind.errors import IdentityError
from plugind.wire.texts import is_node_id

ID_FILE = "node-id"
SECRET_FILE = "node-secret"
LOCK_FILE = "agent.lock"

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's ID (a UUID) and its secret, held while ``lock`` (a file descriptor) is open."""

    node_id: str
    secret: str = field(repr=False)
    lock: int

    def release(self) -> None:
        """Let another agent use the data_dir; call it only once."""
        os.close(self.lock)


def hold(data_dir: Path) -> Identity:
    """Return the identity kept in ``data_dir``, locked for this process; generate it if there is
    none.

    Raise IdentityError when another agent holds it, or when one of its files is damaged or cannot
    be used.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = _lock(data_dir)
        try:
            return _read_or_draw(data_dir, lock)
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        where = error.filename or data_dir
        raise IdentityError(f"{where}: {error.strerror}; an agent keeps its identity there") from (
            error
        )


def _lock(data_dir: Path) -> int:
    lock = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise IdentityError(
            f"{data_dir} is in use by another agent; stop that one, or set another data_dir"
        ) from error
    return lock


def _read_or_draw(data_dir: Path, lock: int) -> Identity:
    """Return the identity; generate the parts that are missing.

    The secret is written first, so an ID without a secret means that the secret was lost, not that
    an earlier start was interrupted.
    """
    check(data_dir)
    id_file, secret_file = data_dir / ID_FILE, data_dir / SECRET_FILE
    if not secret_file.exists():
        _write(secret_file, secrets.token_urlsafe(32), 0o600)
    if not id_file.exists():
        _write(id_file, str(uuid.uuid4()), 0o644)
    return Identity(_kept(id_file, is_node_id), _kept(secret_file, _is_secret), lock)


def check(data_dir: Path) -> None:
    """Validate the identity in ``data_dir``, if there is one, and change nothing.

    Raise IdentityError when it is damaged or incomplete, OSError when it cannot be read.
    """
    id_file, secret_file = data_dir / ID_FILE, data_dir / SECRET_FILE
    if id_file.exists() and not secret_file.exists():
        raise IdentityError(
            f"{secret_file} is missing; restore it, or remove {id_file} to come as a new node"
        )
    for file, is_good in ((secret_file, _is_secret), (id_file, is_node_id)):
        if file.exists():
            _kept(file, is_good)


def _is_secret(text: str) -> bool:
    return _SECRET.fullmatch(text) is not None


def _kept(file: Path, is_good: Callable[[str], bool]) -> str:
    text = file.read_bytes().decode(errors="replace").strip()
    if not is_good(text):
        raise IdentityError(
            f"{file} is damaged; restore it, or remove {ID_FILE} and {SECRET_FILE} "
            "to come as a new node"
        )
    return text


def _write(file: Path, text: str, mode: int) -> None:
    """Write a whole file or none, even if the machine loses power during the call."""
    part = file.with_name(f"{file.name}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(handle, mode)
        os.write(handle, f"{text}\n".encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(part, file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
