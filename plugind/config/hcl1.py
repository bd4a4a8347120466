"""A translator of HCL 1 text into HCL 2 text.

Nomad still reads its policies and its own configuration as HCL 1
(https://github.com/hashicorp/hcl/tree/hcl1), and existing files use it: names in quotes (``"policy"
= "read"``), commas between settings and between blocks, and ``${`` as plain text. Each translated
text has the same length and lines as the original, so positions stay the same. The text must have
passed ``scan.cuts``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_TEXT = (
    r'"(?:[^"\\\n]|\\.)*+"'
    r"|<<-?(?P<mark>[a-zA-Z][\w.-]*)\r?\n(?:[\s\S]*?\n)??\s*(?P=mark)\r?\n"
)
_SKIPPED = r"\s+|\#[^\n]*|//[^\n]*|/\*[\s\S]*?\*/"
_LEXEME = re.compile(rf"(?P<skipped>{_SKIPPED})|(?P<text>{_TEXT})|(?P<word>[\w.-]+)|(?P<sign>.)")
_PLAIN = re.compile(rf"{_SKIPPED}|(?P<text>{_TEXT})")
_NAME_IN_QUOTES = re.compile(r'"([A-Za-z_][A-Za-z0-9_-]*)"')
_TEMPLATE = re.compile(r"([$%])\{")

_NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
"""Characters that Unicode reserves for a program's own use."""

# Where in a body a lexeme is: before the first item or right after a comma; after an item; after a
# name and its labels; after an item's equals sign.
_BEFORE, _BEHIND, _NAMED, _VALUE = range(4)

# The lexemes that may occur at each place, with the place of the lexeme that follows.
_NEXT = {
    (_BEFORE, "word"): _NAMED,
    (_BEFORE, "}"): _BEHIND,
    (_BEHIND, "word"): _NAMED,
    (_BEHIND, "}"): _BEHIND,
    (_BEHIND, ","): _BEFORE,
    (_NAMED, "word"): _NAMED,
    (_NAMED, "="): _VALUE,
    (_NAMED, "{"): _BEFORE,
    (_VALUE, "word"): _BEHIND,
    (_VALUE, "-"): _VALUE,
    **{(_VALUE, bracket): _BEHIND for bracket in "[{("},
}
_DEPTHS = {**dict.fromkeys("[{(", 1), **dict.fromkeys("]})", -1)}


def as_hcl2(text: str) -> str:
    """Return the text without quotes around names, and without commas between items of a body.

    The text is left unchanged from the first lexeme that cannot occur in a body: the parser reports
    the mistake there.
    """
    parts: list[str] = []
    end = 0
    for begin, written in _rewritten(text):
        parts += text[end:begin], written
        end = begin + len(written)
    return "".join([*parts, text[end:]])


def _rewritten(text: str) -> Iterator[tuple[int, str]]:
    """Yield each replacement that HCL 2 needs, with the offset of the text that it replaces."""
    where, depth = _BEFORE, 0  # The depth counts brackets within a value.
    for lexeme in _LEXEME.finditer(text):
        kind, token = lexeme.lastgroup, lexeme[0]
        if kind == "skipped" or depth:
            depth += _DEPTHS.get(token, 0)
            continue
        what = token if kind == "sign" or token == "-" else "word"
        if (where, what) not in _NEXT:
            return
        if what == ",":
            yield lexeme.start(), " "
        elif where in (_BEFORE, _BEHIND) and (name := _NAME_IN_QUOTES.fullmatch(token)):
            yield lexeme.start(), f"{name[1]}  "
        elif where == _VALUE:
            depth = _DEPTHS.get(token, 0)
        where = _NEXT[where, what]


def without_templates(text: str) -> tuple[str, str]:
    """Return the text with a stand-in for the brace of each ``${`` and ``%{`` in strings, and the
    stand-in.

    The stand-in is a character that does not occur in the text. If all candidates occur, it is ""
    and the text is returned unchanged.
    """
    stand_in = next((each for each in _NONCHARACTERS if each not in text), "")
    if not stand_in:
        return text, ""

    def plain(found: re.Match[str]) -> str:
        return _TEMPLATE.sub(rf"\1{stand_in}", found[0]) if found["text"] else found[0]

    return _PLAIN.sub(plain, text), stand_in
