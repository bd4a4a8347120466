"""A token in a file that may be replaced while a process runs."""

from __future__ import annotations

import os
from pathlib import Path

from plugind.errors import TokenError
from plugind.toolbox.trust import why_untrusted

TOKEN_MAXIMUM = 4_096
"""Characters of a token; those that plugind and Nomad make are shorter than 50."""


class TokenFile:
    """Reads a token again only when its file was written or replaced; without a path there is no
    token."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._token = ""

    @property
    def is_set(self) -> bool:
        return self._path is not None

    def read(self) -> str:
        """Return the token, "" without a file. Raise TokenError when the file is missing, holds no
        token, or could be written by users other than root while this process runs as root."""
        if self._path is None:
            return ""
        try:
            stat = os.stat(self._path)
        except OSError as error:
            self._seen = None
            raise _unreadable("token_file", self._path, error) from error
        seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if seen != self._seen:
            self._seen = None
            if reason := why_untrusted(str(self._path)):
                raise TokenError(f"token_file {self._path} is not read: {reason}")
            self._token = read_token("token_file", self._path)
            self._seen = seen
        return self._token


def read_token(source: str, path: Path) -> str:
    """Return the token in a file; ``source`` is what errors call it, such as "token_file".

    Raise TokenError when the file cannot be read or holds no token.
    """
    try:
        with path.open("rb") as file:
            text = file.read(TOKEN_MAXIMUM + 1).decode(errors="replace").strip()
    except OSError as error:
        raise _unreadable(source, path, error) from error
    is_long = len(text) > TOKEN_MAXIMUM
    if not text or is_long or not text.isascii() or not text.isprintable() or " " in text:
        raise TokenError(f"{source} {path} holds no token; it must hold one and nothing else")
    return text


def _unreadable(source: str, path: Path, error: OSError) -> TokenError:
    return TokenError(f"{source} {path} cannot be read: {error.strerror}; put the token there")
