"""Who this node is: its ID and its secret, kept in ``data_dir`` and never made up a second time.

The first report pins the secret to the ID, so an agent that lost one of them, or shares them with
another agent, has to be told of rather than helped.
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
from plugind.fields import is_node_id

ID_FILE = "node-id"
SECRET_FILE = "node-secret"
LOCK_FILE = "agent.lock"

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's ID (a UUID) and its secret, held as long as ``lock`` (a file) is open."""

    node_id: str
    secret: str = field(repr=False)
    lock: int

    def release(self) -> None:
        """Lets another agent use the data_dir; once only."""
        os.close(self.lock)


def hold(data_dir: Path) -> Identity:
    """The identity kept in ``data_dir``, drawn when there is none, for this process alone.

    Raises IdentityError when another agent has it, or a file of it is damaged or cannot be used.
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
    """The secret is written first: an ID without one was robbed of it, and not cut short."""
    id_file, secret_file = data_dir / ID_FILE, data_dir / SECRET_FILE
    if id_file.exists() and not secret_file.exists():
        raise IdentityError(
            f"{secret_file} is missing; restore it, or remove {id_file} to come as a new node"
        )
    secret = _kept(secret_file, 0o600, _is_secret, lambda: secrets.token_urlsafe(32))
    node_id = _kept(id_file, 0o644, is_node_id, lambda: str(uuid.uuid4()))
    return Identity(node_id, secret, lock)


def _is_secret(text: str) -> bool:
    return _SECRET.fullmatch(text) is not None


def _kept(file: Path, mode: int, is_good: Callable[[str], bool], draw: Callable[[], str]) -> str:
    if not file.exists():
        _write(file, draw(), mode)
    text = file.read_bytes().decode(errors="replace").strip()
    if not is_good(text):
        raise IdentityError(
            f"{file} is damaged; restore it, or remove {ID_FILE} and {SECRET_FILE} "
            "to come as a new node"
        )
    return text


def _write(file: Path, text: str, mode: int) -> None:
    """Writes a whole file or none, also when the machine loses power meanwhile."""
    part = file.with_name(f"{file.name}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(handle, mode)
        os.write(handle, f"{text}\n".encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(part, file)
    _sync_folder(file.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
