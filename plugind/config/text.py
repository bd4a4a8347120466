"""Configuration files as text: of limited size, in UTF-8, without NUL."""

from __future__ import annotations

from pathlib import Path

from plugind.config.tree import Place, refuse

SIZE_MAXIMUM = 1024 * 1024
"""The default limit, in bytes of a file or characters of a text."""


def read(path: Path, place: Place, maximum: int = SIZE_MAXIMUM) -> str:
    """Return the text of a file. Raise ConfigError with the reason when it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(maximum + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise refuse(place, f"cannot be read: {reason}") from error
    if len(data) > maximum:
        raise _too_large(place, maximum)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise refuse(place.at(line, column), "not UTF-8 text; save the file as UTF-8") from error


def checked(text: str, place: Place, maximum: int = SIZE_MAXIMUM) -> str:
    """Return the text without its byte-order mark.

    Raise ConfigError for more than ``maximum`` characters, NUL or lone surrogates.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > maximum:
        raise _too_large(place, maximum)
    for line, content in enumerate(text.split("\n"), 1):
        if "\0" in content:
            raise refuse(
                place.at(line, content.index("\0") + 1), "a NUL character; is this a text file?"
            )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise refuse(place, "lone surrogates are not characters; save it as UTF-8") from error
    return text


def _too_large(place: Place, maximum: int) -> Exception:
    return refuse(place, f"larger than {maximum // 1024} KiB, which no configuration needs")
