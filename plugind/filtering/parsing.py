"""Parses expressions; an error names the position and what was expected there.

The grammar is in grammar.lark. The parser is made once, for the first filter, and does not recurse,
so only the text's length is limited here.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, Tree, UnexpectedInput

from plugind.errors import BadRequest, Mistake

LENGTH_MAXIMUM = 4096

Node = Tree[Token] | Token


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("grammar.lark").read_text()
    return Lark(grammar, parser="lalr", maybe_placeholders=False)


# The words for the tokens that the parser would accept at a place; the first match is shown.
_EXPECTED = {
    "LPAR": 'a comparison, such as ID == "ebs0"',
    "NUMBER": "a value: text in quotes, a word, or a number",
    "WORD": "a name",
    "NAME": "a name",
    "STRING": "text in quotes",
    "OPERATOR": "an operator (==, !=, <, <=, >, >=, in, contains, matches, is empty, is nil)",
    "_AS": "as, and a name",
    "_COMMA": "{, or a second name",
    "_LBRACE": "{",
    "_RSQB": "]",
    "_RPAR": "and, or, or the ) of this (",
    "_RBRACE": "and, or, or the } of this {",
    "_AND": "and, or",
}

_UNCLOSED = {
    '"': "this text in quotes is not closed on its line",
    "`": "this text in backticks is never closed",
}

# Hints for characters that other languages use.
_HABITS = {
    "'": 'text must be in double quotes, such as "ebs0"',
    "=": "write == for equals",
    "&": "write and",
    "|": "write or",
    "!": "write not",
}


def parse(text: str) -> Node:
    """Return the syntax tree of an expression. Raise BadRequest for a bad one."""
    if len(text) > LENGTH_MAXIMUM:
        raise BadRequest(f"the filter is longer than {LENGTH_MAXIMUM} characters")
    try:
        text.encode()
        return _parser().parse(text)
    except UnicodeEncodeError as error:
        raise refusal(text, error.start, "this is not a Unicode character") from error
    except UnexpectedInput as error:
        offset = error.pos_in_stream or 0
        if getattr(getattr(error, "token", None), "type", None) == "$END":
            offset = len(text.rstrip())
        parser: Any = error.interactive_parser  # Its type is None until the parser sets it.
        what = _what(text[:offset], text[offset:], parser.accepts())
        raise refusal(text, offset, what) from error


def refusal(text: str, offset: int, what: str) -> BadRequest:
    """Return an error that names the line and column in the text."""
    line = text.count("\n", 0, offset) + 1
    column = offset - text.rfind("\n", 0, offset)
    return BadRequest(str(Mistake("filter", line, column, what)))


def _what(before: str, rest: str, taken: Collection[str]) -> str:
    """Return the mistake at the start of ``rest``, after ``before``, which the parser accepted."""
    expected = next((what for name, what in _EXPECTED.items() if name in taken), "the end")
    if not rest.strip():
        return f"the filter ends too early; expected {expected}"
    if rest[0] in _UNCLOSED and "STRING" in taken:
        return _UNCLOSED[rest[0]]
    if rest[0] in _HABITS and not rest.startswith(("==", "!=")):
        return _HABITS[rest[0]]
    if rest[0] in ")}" and "$END" in taken:
        return f"this {rest[0]} closes nothing"
    found = ascii(rest.split(maxsplit=1)[0][:20])
    if rest[0] in "-+:@%*." and before and not before[-1].isspace():
        return f"{found} cannot be part of a word; put the text in double quotes"
    return f"expected {expected}, not {found}"
