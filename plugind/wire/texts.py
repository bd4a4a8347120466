"""Texts from elsewhere: making them safe to store, and recognising UUIDs.

This module imports no library, because commands that only ask a server need none.
"""

from __future__ import annotations

import re

from plugind.printable import one_line

_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def tame(text: str, maximum: int) -> str:
    """Return foreign text as one line of at most ``maximum`` characters, safe to store and show.

    Control characters become escapes, and lone surrogates, which UTF-8 cannot encode, become "?".
    """
    return one_line(text[: 2 * maximum].encode(errors="replace").decode(), maximum)


def is_node_id(text: str) -> bool:
    """Return whether the text is a UUID in its canonical form: 36 characters, lower case."""
    return _UUID.fullmatch(text) is not None
