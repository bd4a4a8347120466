"""Suggestions of the right name for an unknown name, for messages about mistakes.

This is separate from the configuration, which takes long to import and which most commands do not
need.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return a hint at the right name for an unknown name: the closest known name, else all."""
    names = sorted(known)
    if close := get_close_matches(name, names, 1):
        return f'did you mean "{close[0]}"?'
    return f"use one of: {', '.join(names)}" if names else "none exists"


def near(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three of the known names that resemble ``name``.

    The comparison ignores case. A known name that ends in ``name`` after a space or a slash always
    counts as similar.
    """
    names = dict.fromkeys(known)
    ends = [each for each in names if each.endswith((f" {name}", f"/{name}"))]
    by_folded = {each.casefold(): each for each in reversed(names)}
    close = get_close_matches(name.casefold(), by_folded)
    return list(dict.fromkeys([*ends, *(by_folded[each] for each in close)]))[:3]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question to append to an error about an unknown name; "" if no name is similar."""
    found = [repr(each) for each in near(name, known)]
    return f"; did you mean {' or '.join(found)}?" if found else ""
