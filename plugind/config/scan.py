"""A first look at HCL text: what quotes, comments and brackets do, before the grammar is asked.

Nearly every syntax error is a quote or a bracket without its partner. A grammar notices that far
behind the place, often at the end of the file; this names the place itself. It also bounds the
nesting, so that the tree can be walked by recursion, and sees where long text can be cut.
"""

from __future__ import annotations

import re
from bisect import bisect_left

from plugind.config.tree import Place, refuse

DEPTH_MAXIMUM = 32
PIECE = 16 * 1024

_LEXEME = re.compile(
    r"""
      (?P<skip>   \#[^\n]* | //[^\n]* | /\*[\s\S]*?\*/ | "(?:[^"\\\n]|\\.)*"
                | <<-?(?P<mark>[a-zA-Z][\w.-]*)\r?\n(?:[\s\S]*?\n)??\s*(?P=mark)\r?\n )
    | (?P<opens>  [\[{(] )
    | (?P<closes> [\]})] )
    | (?P<open>   " | /\* | <<-?[a-zA-Z][\w.-]*\r?\n )
    """,
    re.VERBOSE | re.ASCII,
)
_LINE_END = re.compile(r"[ \t]*\r?\n")
_OPENER = {"]": "[", "}": "{", ")": "("}
_LEFT_OPEN = {
    '"': 'this string is not closed on its line (write \\n for a new line in it, \\" for a quote)',
    "/": "this comment is never closed: */ is missing",
    "<": "this heredoc is never closed: its word must stand alone on a later line",
}


class Positions:
    """Finds the line and column of a text's characters."""

    def __init__(self, text: str, start: Place) -> None:
        self._start = start
        self._ends = [match.start() for match in re.finditer("\n", text)]

    def at(self, offset: int) -> Place:
        line = bisect_left(self._ends, offset)
        column = offset - self._ends[line - 1] if line else offset + 1
        return self._start.at(line + 1, column)


def cuts(text: str, start: Place) -> list[int]:
    """Where the text can be cut into pieces of about PIECE characters: after the line on which a
    block or a value that stands in no other ends.

    Raises ConfigError at the first quote, comment, heredoc or bracket without its partner, or
    nested more than DEPTH_MAXIMUM deep. The text must end with a new line.
    """
    opened: list[re.Match[str]] = []
    found = [0]
    for lexeme in _LEXEME.finditer(text):
        if flaw := _flaw(lexeme, opened):
            raise refuse(Positions(text, start).at(lexeme.start()), flaw)
        if lexeme[0] == "}" and not opened and lexeme.end() - found[-1] >= PIECE:
            line_end = _LINE_END.match(text, lexeme.end())
            found += [line_end.end()] if line_end else []
    if opened:
        place = Positions(text, start).at(opened[-1].start())
        raise refuse(place, f"this {opened[-1][0]} is never closed")
    return [cut for cut in found if 0 < cut < len(text) - 1]


def _flaw(lexeme: re.Match[str], opened: list[re.Match[str]]) -> str:
    """What is wrong with a lexeme, "" when nothing is; keeps ``opened`` in step."""
    if lexeme["opens"]:
        opened.append(lexeme)
        return "" if len(opened) <= DEPTH_MAXIMUM else f"nested more than {DEPTH_MAXIMUM} deep"
    if lexeme["closes"]:
        if not opened:
            return f"this {lexeme[0]} closes nothing"
        opener = opened.pop()[0]
        return "" if _OPENER[lexeme[0]] == opener else f"this {lexeme[0]} cannot close a {opener}"
    return _LEFT_OPEN[lexeme[0][0]] if lexeme["open"] else ""
