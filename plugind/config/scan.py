"""A scanner of quotes, comments and brackets in HCL text, which runs before the parser.

Nearly every syntax error is an unmatched quote or bracket. A parser reports it far after the actual
place, often at the end of the file; the scanner reports the place itself. It also limits the
nesting, so that recursion can walk the tree, and finds the places where long text can be cut.
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
    """The lines and columns of a text's characters."""

    def __init__(self, text: str, start: Place) -> None:
        self._start = start
        self._ends = [match.start() for match in re.finditer("\n", text)]

    def at(self, offset: int) -> Place:
        line = bisect_left(self._ends, offset)
        column = offset - self._ends[line - 1] if line else offset + 1
        return self._start.at(line + 1, column)


def cuts(text: str, start: Place, block_maximum: int) -> list[int]:
    """Return the offsets where the text can be cut into pieces of about PIECE characters.

    Each offset is just after a line on which an outermost block or value ends. The text must end
    with a new line. Raise ConfigError at the first unmatched bracket or unclosed quote, comment or
    heredoc, at nesting deeper than DEPTH_MAXIMUM, and if no block ends within ``block_maximum``
    characters.
    """
    opened: list[re.Match[str]] = []
    found = [0]
    ended = 0
    for lexeme in _LEXEME.finditer(text):
        if problem := _problem(lexeme, opened):
            raise refuse(Positions(text, start).at(lexeme.start()), problem)
        _check_size(text, ended, lexeme.end(), start, block_maximum)
        if lexeme["closes"] and not opened:
            ended = lexeme.end()
        if lexeme[0] == "}" and not opened and lexeme.end() - found[-1] >= PIECE:
            line_end = _LINE_END.match(text, lexeme.end())
            found += [line_end.end()] if line_end else []
    if opened:
        place = Positions(text, start).at(opened[-1].start())
        raise refuse(place, f"this {opened[-1][0]} is never closed")
    _check_size(text, ended, len(text), start, block_maximum)
    return [cut for cut in found if 0 < cut < len(text) - 1]


def _check_size(text: str, begin: int, end: int, start: Place, maximum: int) -> None:
    if end - begin > maximum:
        place = Positions(text, start).at(begin)
        raise refuse(place, f"more than {maximum // 1024} KiB follow without the end of a block")


def _problem(lexeme: re.Match[str], opened: list[re.Match[str]]) -> str:
    """Return the mistake at a lexeme, or "" when there is none; update ``opened``."""
    if lexeme["opens"]:
        opened.append(lexeme)
        return "" if len(opened) <= DEPTH_MAXIMUM else f"nested more than {DEPTH_MAXIMUM} deep"
    if lexeme["closes"]:
        if not opened:
            return f"this {lexeme[0]} closes nothing"
        opener = opened.pop()[0]
        return "" if _OPENER[lexeme[0]] == opener else f"this {lexeme[0]} cannot close a {opener}"
    return _LEFT_OPEN[lexeme[0][0]] if lexeme["open"] else ""
