"""Find secrets in files that tests left behind, without knowing the secrets.

All that plugind ever stores of a secret is its SHA-256, so a word whose hash appears in some file
is a secret.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

_HASH = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_WORD = re.compile(rb"[A-Za-z0-9_-]{16,}")
_HASH_LENGTH = 64
_SECRET_MAXIMUM = 128
_FILE_MAXIMUM = 16 * 2**20


def leaks(folder: Path) -> list[str]:
    """Return the files below the folder that contain a secret.

    Files meant to hold a secret (an agent's ``node-secret``, a ``token_file``) do not count if only
    their owner can read them.
    """
    hashes: set[bytes] = set()
    places: dict[bytes, Path] = {}
    for path in _files(folder):
        try:
            content, is_kept = path.read_bytes(), _is_kept(path)
        except FileNotFoundError:  # a process that is ending has removed it
            continue
        for word in set(_WORD.findall(content)):
            if len(word) >= _HASH_LENGTH:
                hashes.update(_HASH.findall(word))
            if len(word) <= _SECRET_MAXIMUM and not is_kept:
                places.setdefault(word, path)
    return sorted(
        {
            str(path)
            for word, path in places.items()
            if hashlib.sha256(word).hexdigest().encode() in hashes
        }
    )


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            try:
                status = path.lstat()
            except FileNotFoundError:  # it has gone meanwhile
                continue
            if stat.S_ISREG(status.st_mode) and status.st_size <= _FILE_MAXIMUM:
                yield path


def _is_kept(path: Path) -> bool:
    return path.lstat().st_mode & 0o077 == 0 and path.name in (
        "node-secret",
        "token",
        "agent.token",
    )
