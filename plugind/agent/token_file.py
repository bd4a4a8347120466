"""The agent's token, from a file that may be replaced while the agent runs."""

from __future__ import annotations

import os
from pathlib import Path

from plugind.errors import TokenError


class TokenFile:
    """Reads a token again only when its file was written or replaced; None: there is no token."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._token = ""

    def read(self) -> str:
        """The token, "" without a file. Raises TokenError when it is missing or is no token."""
        if self._path is None:
            return ""
        try:
            stat = os.stat(self._path)
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen != self._seen:
                self._token = _token(self._path)
                self._seen = seen
        except OSError as error:
            self._seen = None
            raise TokenError(
                f"token_file {self._path} cannot be read: {error.strerror}; put the token there"
            ) from error
        return self._token


def _token(path: Path) -> str:
    text = path.read_bytes().decode(errors="replace").strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise TokenError(f"token_file {path} holds no token; it must hold one and nothing else")
    return text
