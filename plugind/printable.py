"""Escapes that make text from elsewhere safe to show.

Drivers, agents, packages and other servers choose names, reasons and error texts. Shown unchanged,
such texts can move a terminal's cursor, forge a log line, or reverse the order in which a line is
read. Each kind of output applies one of these functions when it writes: terminals
(``plugind.cli.terminal``), logs (``plugind.logs``), headers and error bodies
(``plugind.api.reply``). JSON needs none of them, because it has its own escapes.
"""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: escape sequences begin with these
    "\u2028\u2029"  # separators of lines and paragraphs
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # change the direction of what follows
    "\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # control, but invisible
    "\ud800-\udfff"  # lone surrogates, which UTF-8 cannot encode
    "]"
)
_UNSAFE_BUT_NEWLINE = re.compile(rf"(?!\n){_UNSAFE.pattern}")


def escaped(text: str) -> str:
    r"""Return the text with each unsafe character, newlines included, as an escape (``\x1b``)."""
    return _UNSAFE.sub(_escape, text)


def lines(text: str) -> str:
    """Return the text with each unsafe character except newlines as an escape."""
    return _UNSAFE_BUT_NEWLINE.sub(_escape, text)


def one_line(text: str, maximum: int | None = None) -> str:
    """Return the text as one line of at most ``maximum`` characters; None means any length.

    Runs of white space become one space; other unsafe characters become escapes.
    """
    bounded = text if maximum is None else text[: 2 * maximum]
    return escaped(" ".join(bounded.split()))[:maximum]


def ascii_line(text: str) -> str:
    """Return the text as one line of ASCII, for HTTP headers; other characters become escapes."""
    if text.isascii() and text.isprintable():
        return text
    return one_line(text).encode("ascii", "backslashreplace").decode("ascii")


def json_line(text: str) -> str:
    """Return ASCII JSON with DEL as an escape, because JSON itself does not escape it."""
    return text.replace("\x7f", "\\u007f")


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
