"""Reads configuration files as text: bounded, UTF-8, without NUL."""

from __future__ import annotations

from pathlib import Path

from plugind.config.tree import Place, refuse

SIZE_MAXIMUM = 1024 * 1024
"""Bytes of a file, or characters of a text."""


def read(path: Path, place: Place) -> str:
    """The text of a file. Raises ConfigError, saying why, when it cannot be had."""
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_MAXIMUM + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise refuse(place, f"cannot be read: {reason}") from error
    if len(data) > SIZE_MAXIMUM:
        raise _too_large(place)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise refuse(place.at(line, column), "not UTF-8 text; save the file as UTF-8") from error


def checked(text: str, place: Place) -> str:
    """The text without its byte-order mark. Raises ConfigError for what no text should hold."""
    text = text.removeprefix("\ufeff")
    if len(text) > SIZE_MAXIMUM:
        raise _too_large(place)
    for line, content in enumerate(text.split("\n"), 1):
        if "\0" in content:
            raise refuse(place.at(line, content.index("\0") + 1), "a NUL character; is this text?")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise refuse(place, "lone surrogates, which are no characters; save it as UTF-8") from error
    return text


def _too_large(place: Place) -> Exception:
    return refuse(place, f"larger than {SIZE_MAXIMUM // 1024} KiB, which no configuration needs")
