"""A parser of HCL text into a tree of blocks and attributes with positions.

The grammar is python-hcl2's (https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md); the
tree is plugind's own, because python-hcl2's keeps quotes, merges repeated blocks and loses
positions. Values are constants: expressions are refused. HCL 1 syntax that HCL 2 lacks is accepted;
see ``plugind.config.hcl1``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import Any

import hcl2
from lark import Token, Tree, UnexpectedInput

from plugind.config import hcl1
from plugind.config.hcl_strings import Refused, heredoc, quoted
from plugind.config.scan import Positions, cuts
from plugind.config.text import SIZE_MAXIMUM, checked
from plugind.config.tree import Attribute, Block, Body, Place, ValuePath, raise_any, refuse
from plugind.errors import ConfigError, Mistake
from plugind.model.times import INT64_MAX

Node = Tree[Token]

forget_parser = hcl2.parser.parser.cache_clear
"""Frees the memory of the parser's tables, about 7 MiB; the next text loads them again."""

_NO_EXPRESSIONS = "expressions are not supported; write the value itself"
_LITERALS = {"true": True, "false": False, "null": None}


def parse_text(
    text: str,
    start: Place,
    maximum: int = SIZE_MAXIMUM,
    block_maximum: int = SIZE_MAXIMUM,
    *,
    literal: bool = False,
) -> Body:
    """Return the tree of HCL text; ``start`` names the source. Raise ConfigError with every
    mistake.

    ``literal`` makes ``${`` and ``%{`` plain text, as in HCL 1, not expressions. Long text is
    parsed piece by piece, because the parser's own tree takes a hundred times the memory of the
    text, and a large tree takes more than twice the time.
    """
    original = checked(text, start, maximum)
    ends = cuts(original + "\n", start, block_maximum)
    text, stand_in = hcl1.without_templates(original) if literal else (original, "")
    text = hcl1.as_hcl2(text)
    if text != original:
        ends = cuts(text + "\n", start, block_maximum)  # Commas behind blocks are gone now.
    bodies = []
    walker = _Walker(start, stand_in)
    begin = 0
    for end in [*ends, len(text)]:
        try:
            root = hcl2.parses_to_tree(text[begin:end])
        except UnexpectedInput as error:
            raise _syntax_error(error, original, begin, start) from error
        bodies.append(walker.body(root.children[0], start.at(1, 1)))
        walker.lines_above += text.count("\n", begin, end)
        begin = end
    raise_any(walker.mistakes)
    attributes = chain.from_iterable(body.attributes for body in bodies)
    blocks = chain.from_iterable(body.blocks for body in bodies)
    return Body(start.at(1, 1), tuple(attributes), tuple(blocks))


def _syntax_error(error: UnexpectedInput, text: str, begin: int, start: Place) -> ConfigError:
    """Return an error of one line instead of the parser's list of tokens.

    ``begin`` is the offset of the piece that the parser read.
    """
    offset = begin + error.pos_in_stream if error.pos_in_stream is not None else len(text)
    rest = text[offset:].lstrip(" \t\r")
    offset = len(text) - len(rest)
    word = rest.split(maxsplit=1)[0][:20] if rest.strip() else ""
    if not rest or rest[0] == "\n":
        what = "the line ends too early: a value or a block's { is missing"
    elif rest[0] == "'":
        what = "text must be in double quotes, not in single ones"
    elif rest.startswith(("$${", "%%{")):
        what = f'write "\\u{ord(rest[0]):04x}{{" for {rest[0]}{{ without a }} after it'
    elif "RSQB" in (getattr(error, "expected", None) or ()):
        what = f"expected a comma between the items of a list, not {word!r}"
    elif rest[0] == ":":
        what = "write name = value"
    else:
        what = f"expected name = value, or a block: name {{ ... }}, not {word!r}"
    return refuse(Positions(text, start).at(offset), what)


class _Walker:
    """A translator of the parser's tree into blocks and attributes that collects mistakes.

    It recurses as deep as brackets are nested, which ``scan.cuts`` limits. ``stand_in`` is the
    character that replaces a brace in strings, if any.
    """

    def __init__(self, start: Place, stand_in: str = "") -> None:
        self.mistakes: list[Mistake] = []
        self.lines_above = 0
        self._start = start
        self._stand_in = stand_in

    def body(self, node: Any, place: Place) -> Body:
        parts = list(_nodes(node))
        return Body(
            place,
            tuple(self._attribute(part) for part in parts if part.data == "attribute"),
            tuple(self._block(part) for part in parts if part.data == "block"),
        )

    def _attribute(self, node: Node) -> Attribute:
        name, expression = _nodes(node)
        parts: dict[ValuePath, Place] = {}
        value = self._value(expression, (), parts)
        del parts[()]  # Mistakes in the value itself are reported at its name.
        return Attribute(_word(name), value, self._place(node), parts)

    def _block(self, node: Node) -> Block:
        type, *labels, body = _nodes(node)
        named = tuple(
            self._string(label) if label.data == "string" else _word(label) for label in labels
        )
        place = self._place(node)
        return Block(_word(type), named, self.body(body, place), place)

    def _value(self, node: Node, path: ValuePath, parts: dict[ValuePath, Place]) -> Any:
        parts[path] = self._place(node)
        negative = node.data == "unary_op" and node.children[0] == "-"
        term = _nodes(node) if node.data == "expr_term" or negative else iter(())
        inner = next(term, None)
        if inner is not None and negative:
            number = next(_nodes(inner), None)
            if number is None or number.data not in ("int_lit", "float_lit"):
                return self._refuse(inner, _NO_EXPRESSIONS)
            return self._number(number, f"-{_word(number)}")
        if inner is None or node.children[0] is not inner:  # An operator or parentheses follow.
            return self._refuse(node, _NO_EXPRESSIONS)
        return self._term(inner, path, parts)

    def _term(self, node: Node, path: ValuePath, parts: dict[ValuePath, Place]) -> Any:
        match node.data:
            case "string":
                return self._string(node)
            case "int_lit" | "float_lit":
                return self._number(node, _word(node))
            case "literal_value":
                return _LITERALS[_word(node)]
            case "tuple":
                items = enumerate(_nodes(node))
                return [self._value(item, (*path, number), parts) for number, item in items]
            case "object":
                return self._object(node, path, parts)
            case "heredoc_template" | "heredoc_template_trim":
                return self._text(node, heredoc, _word(node))
            case "identifier":
                return self._refuse(node, f'text must be in quotes: write "{_word(node)}"')
        return self._refuse(node, _NO_EXPRESSIONS)

    def _object(self, node: Node, path: ValuePath, parts: dict[ValuePath, Place]) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for element in _nodes(node):
            key_node, value_node = _nodes(element)
            key = self._key(key_node)
            if key in value:
                first = parts[*path, key].line
                self._refuse(key_node, f"{key!r} is repeated; it is in line {first} already")
                continue
            value[key] = self._value(value_node, (*path, key), parts)
            parts[*path, key] = self._place(key_node)
        return value

    def _key(self, node: Node) -> str:
        """Return the key of an object's element: a bare word, or text in quotes."""
        inner = node.children[0]
        while isinstance(inner, Tree) and inner.data in ("expr_term", "object_elem_key"):
            inner = inner.children[0]
        if isinstance(inner, Tree) and inner.data == "string":
            return self._string(inner)
        if isinstance(inner, Tree) and inner.data in ("identifier", "literal_value", "keyword"):
            return _word(inner)
        self._refuse(node, "a key must be a word, or text in quotes")
        return ""

    def _number(self, node: Node, text: str) -> Any:
        if node.data == "int_lit" and len(text) <= 20 and abs(int(text)) <= INT64_MAX:
            return int(text)
        if node.data == "float_lit" and math.isfinite(float(text)):
            return float(text)
        return self._refuse(node, "this number is too large: it must fit in 64 bits")

    def _string(self, node: Node) -> str:
        inner = [part.children[0] for part in _nodes(node)]
        for part in inner:
            if isinstance(part, Tree):
                self._refuse(part, _NO_EXPRESSIONS)
                return ""
        return self._text(node, quoted, "".join(map(str, inner)))

    def _text(self, node: Node, meaning: Any, raw: str) -> str:
        try:
            text: str = meaning(raw)
        except Refused as error:
            self._refuse(node, str(error))
            return ""
        return text.replace(self._stand_in, "{") if self._stand_in else text

    def _place(self, node: Node) -> Place:
        return self._start.at(self.lines_above + node.meta.line, node.meta.column)

    def _refuse(self, node: Node, text: str) -> None:
        self.mistakes.append(self._place(node).mistake(text))


def _nodes(node: Node) -> Iterator[Node]:
    """Yield the children that carry meaning, without punctuation and comments."""
    for child in node.children:
        if isinstance(child, Tree) and child.data != "new_line_or_comment":
            yield child


def _word(node: Node) -> str:
    return str(node.children[0])
