"""Texts that drivers, agents, packages and other servers may choose, each unsafe to show."""

from __future__ import annotations

import unicodedata

HOSTILE = {
    "colour": "x\x1b[31mred",
    "title": "x\x1b]0;title\x07",
    "clear": "bad\x1b[2J\x1b[H",
    "bell": "\x07ding",
    "back": "safe\x08\x08\x08\x08evil",
    "return": "evil\rgood",
    "newline": 'a\nlevel=info event="all is well"',
    "nul": "a\x00b",
    "delete": "a\x7fb",
    "c1": "a\x9b31mb\x90q\x9c",
    "next line": "a\x85b",
    "line separator": "a\u2028b\u2029c",
    "bidi override": "a\u202egnp.exe",
    "bidi isolate": "a\u2066b\u2069",
    "mark": "a\u200fb\u061cc",
    "byte order mark": "a\ufeffb",
    "tag": "a\U000e0041b",
    "surrogate": "a\ud800b\udcffc",
    "markup": "</text></script><img src=x onerror=alert(1)>\"'&{{7*7}}<!--",
    "formula": '=HYPERLINK("http://192.0.2.1")',
}
"""Hostile texts, named by what each one attacks: a terminal, a log, a page, a drawing or a
spreadsheet."""

SENDABLE = {name: text for name, text in HOSTILE.items() if name != "surrogate"}
"""The hostile texts that are valid Unicode, so a server accepts them in a report."""


def unsafe(text: str) -> list[str]:
    """Return the characters of a text, or of several lines, that must not be sent to a terminal."""
    return [
        each
        for each in text
        if (unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp") and each != "\n")
    ]
