"""The values written in an expression: their escapes, and their meaning for each kind."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from plugind.filtering.kinds import BOOL, NUMBER, TEXT, TIME, Scalar
from plugind.model.times import parse_time
from plugind.wire.fields import parse_bool

_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\\"])|x([0-9A-Fa-f]{2})|([0-3][0-7]{2})"
    r"|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(?s:.))"
)
_LETTERS = dict(zip('abfnrtv\\"', '\a\b\f\n\r\t\v\\"', strict=True))
_NUMBER = re.compile(
    r"[+-]?(?:0(?:x[0-9a-f_]+|o[0-7_]+|b[01_]+)|(?:0|[1-9][0-9_]*)(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)",
    re.ASCII | re.IGNORECASE,
)


def unquote(quoted: str) -> str:
    """Return the text between double quotes, with Go's escapes decoded, or between backticks,
    unchanged.

    Raise ValueError for a bad escape.
    """
    inner = quoted[1:-1]
    if quoted[0] == "`":
        return inner.replace("\r", "")  # Go removes carriage returns, too.
    # An escape may be one byte of a character, so the text is assembled from bytes.
    parts: list[bytes] = []
    end = 0
    for found in _ESCAPE.finditer(inner):
        parts += inner[end : found.start()].encode(), _escaped(found)
        end = found.end()
    try:
        return b"".join([*parts, inner[end:].encode()]).decode()
    except UnicodeDecodeError as error:
        raise ValueError("its escapes are not UTF-8") from error


def _escaped(found: re.Match[str]) -> bytes:
    letter, byte, octal, short, long = found.groups()
    if letter:
        return _LETTERS[letter].encode()
    if byte or octal:
        return bytes([int(byte, 16) if byte else int(octal, 8)])
    code = int(short or long or "110000", 16)
    try:
        return chr(code).encode()
    except (ValueError, OverflowError) as error:  # It is unknown, a surrogate, or beyond Unicode.
        raise ValueError(f"\\{shown(found[0][1:])} is not an escape; write \\\\ for \\") from error


def shown(text: str) -> str:
    """Return a client's text in ASCII, on one line and short."""
    return ascii(text[:64])[1:-1]


def read(kind: Scalar, text: str) -> object:
    """Return a text decoded as a value of a kind. Raise ValueError for a text that is not of the
    kind.
    """
    return _READERS[kind](text)


def number(text: str) -> int | float:
    """Return the number that a text has in Go's notation.

    Raise ValueError for any other text, and for forms that only some of Go's types accept (010,
    inf, NaN).
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    try:
        return int(text, 0)
    except ValueError:
        value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


_READERS: dict[Scalar, Callable[[str], object]] = {
    TEXT: str,
    NUMBER: number,
    BOOL: parse_bool,
    TIME: parse_time,
}
