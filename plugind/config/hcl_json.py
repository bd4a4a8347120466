"""A parser of JSON text into the same tree as HCL text: objects stand for blocks, labels are keys.

See https://github.com/hashicorp/hcl/blob/main/json/spec.md. Python's own parser finds the syntax
errors; this parser finds positions and repeated keys, which Python's does not report. A comma after
the last item of an object or list is accepted, as in HCL 1.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from plugind.config.scan import DEPTH_MAXIMUM, Positions
from plugind.config.text import SIZE_MAXIMUM, checked
from plugind.config.tree import Attribute, Block, Body, Place, ValuePath, raise_any, refuse
from plugind.errors import Mistake
from plugind.model.times import INT64_MAX

_LEXEME = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]|[^\s{}\[\],:"]+')
_LAST_COMMA = re.compile(r'("(?:[^"\\]|\\.)*+"?|[^\s",:{\[])(\s*+)(?:,(?=\s*[}\]]))?')
_DIGITS = re.compile(r"-?[0-9]+")


def parse_text(text: str, start: Place, maximum: int = SIZE_MAXIMUM) -> Body:
    """Return the tree of JSON text, which must be an object. Raise ConfigError with mistakes."""
    text = _LAST_COMMA.sub(_blanked, checked(text, start, maximum))
    try:
        value = json.loads(text, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        what = f"not JSON: {error.msg[0].lower()}{error.msg[1:]}"
        raise refuse(start.at(error.lineno, error.colno), what) from error
    except RecursionError as error:
        raise refuse(start, f"nested more than {DEPTH_MAXIMUM} deep") from error
    if not isinstance(value, dict):
        raise refuse(start.at(1, 1), 'must be one object: { "name": value }')
    reader = _Reader(text, start)
    body = reader.body(reader.take())
    raise_any(reader.mistakes)
    return body


def _blanked(found: re.Match[str]) -> str:
    """Return a matched value, with a blank in place of the comma after the last item of a list.

    The blank keeps positions unchanged.
    """
    return found[0] if found[0][-1] != "," else f"{found[0][:-1]} "


class _Reader:
    """A reader of valid JSON text, lexeme by lexeme."""

    def __init__(self, text: str, start: Place) -> None:
        self.mistakes: list[Mistake] = []
        self._positions = Positions(text, start)
        self._lexemes = _LEXEME.finditer(text)
        self._depth = 0

    def take(self) -> re.Match[str]:
        lexeme = next(self._lexemes)
        self._depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(lexeme[0], 0)
        if self._depth > DEPTH_MAXIMUM:
            raise refuse(self._place(lexeme), f"nested more than {DEPTH_MAXIMUM} deep")
        return lexeme

    def body(self, opening: re.Match[str]) -> Body:
        """Return the content of an object whose opening brace has already been taken."""
        attributes, blocks = [], []
        for key, place, lexeme in self._members():
            if lexeme[0] == "{":
                blocks.append(Block(key, (), self.body(lexeme), place, open=True))
            else:
                parts: dict[ValuePath, Place] = {}
                value = self._value(lexeme, (), parts)
                attributes.append(Attribute(key, value, place, parts))
        return Body(self._place(opening), tuple(attributes), tuple(blocks))

    def _members(self) -> Any:
        """Yield each member of an object: its key, the key's place, and the first lexeme of its
        value.
        """
        seen: dict[str, Place] = {}
        while (lexeme := self.take())[0] != "}":
            key, place = self._string(lexeme), self._place(lexeme)
            if key in seen:
                line = seen[key].line
                self._refuse(lexeme, f"{key!r} is repeated; it is in line {line} already")
            seen.setdefault(key, place)
            yield key, place, self.take()

    def _value(self, lexeme: re.Match[str], path: ValuePath, parts: dict[ValuePath, Place]) -> Any:
        if path:
            parts.setdefault(path, self._place(lexeme))
        if lexeme[0] == "[":
            items: list[Any] = []
            while (inner := self.take())[0] != "]":
                items.append(self._value(inner, (*path, len(items)), parts))
            return items
        if lexeme[0] == "{":
            value = {}
            for key, place, inner in self._members():
                parts[*path, key] = place
                value[key] = self._value(inner, (*path, key), parts)
            return value
        return self._string(lexeme) if lexeme[0][0] == '"' else self._scalar(lexeme)

    def _scalar(self, lexeme: re.Match[str]) -> Any:
        """Return a number, true, false or null. Refuse NaN and Infinity, which Python accepts."""
        text = lexeme[0]
        whole = _DIGITS.fullmatch(text)
        value = json.loads(text) if not whole or len(text) <= 20 else math.inf
        if isinstance(value, bool) or value is None:
            return value
        if not math.isfinite(value) or (whole and abs(value) > INT64_MAX):
            self._refuse(lexeme, "not a number that fits in 64 bits")
            return None
        return value

    def _string(self, lexeme: re.Match[str]) -> str:
        text: str = json.loads(lexeme[0])
        if "\0" in text or any("\ud800" <= character < "\ue000" for character in text):
            self._refuse(lexeme, "NUL or half a surrogate pair, which text cannot hold")
            return ""
        return text

    def _place(self, lexeme: re.Match[str]) -> Place:
        return self._positions.at(lexeme.start())

    def _refuse(self, lexeme: re.Match[str], text: str) -> None:
        self.mistakes.append(self._place(lexeme).mistake(text))
