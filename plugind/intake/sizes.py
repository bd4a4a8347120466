"""Bounds the size of a reported fingerprint before anything else looks at it.

Each fingerprint is digested, which takes time in proportion to its size and blocks all other
threads meanwhile. Fingerprints of real plugins have about twenty values.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson

VALUES_MAXIMUM = 4_096
"""Values and keys of one fingerprint."""

CHARACTERS_MAXIMUM = 4 * 2**20
"""Characters of all its texts."""

_CONTAINERS = (dict, list)  # looking it up is faster than making it

REASON = f"has more than {VALUES_MAXIMUM:,} values, or {CHARACTERS_MAXIMUM:,} characters"


def is_too_large(raw: Any) -> bool:
    """Return whether a reported fingerprint is too large; stop looking once it is."""
    with suppress(TypeError):  # numbers of more than 64 bits, and halves of surrogate pairs
        if len(orjson.dumps(raw)) <= VALUES_MAXIMUM:
            return False  # each value and key has a byte at least
    values, characters, waiting = 0, 0, [raw]
    while waiting:
        value = waiting.pop()
        values += 1
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, _CONTAINERS):
            if len(value) > VALUES_MAXIMUM:
                return True
            waiting.extend(value)
            waiting.extend(value.values() if isinstance(value, dict) else ())
        if values + len(waiting) > VALUES_MAXIMUM or characters > CHARACTERS_MAXIMUM:
            return True
    return False
