"""Compiles a syntax tree into a function of a row, and enforces the limits on an expression.

The number of terms, the number of patterns and the depth are limited here. An ``any`` inside
another must range over a name of the outer one, so that together they test each item of a row only
once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from lark import Token, Tree

from plugind.filtering.kinds import ANY, NUMBER, TEXT, Fields, Kind, List, Map, Scalar, kind_of
from plugind.filtering.literals import read, shown, unquote
from plugind.filtering.matching import (
    Value,
    against_field,
    against_value,
    comparable,
    not_empty,
    not_nil,
    pattern,
)
from plugind.filtering.parsing import Node, parse, refusal
from plugind.filtering.selecting import Filter, Refuse, Row, Selected, Within, pointer, select

NESTING_MAXIMUM = 32
TERMS_MAXIMUM = 128
PATTERNS_MAXIMUM = 8
STEPS_MAXIMUM = 3000
"""Instructions of RE2 in all patterns together."""


@lru_cache(maxsize=32)
def compile(expression: str, fields: Fields) -> Filter:
    """Return the function that decides whether a row matches an expression.

    Raise BadRequest with the position of the error and what was expected there. The function raises
    it as well, if the kind of a value becomes known only then and is wrong.
    """
    return _Compiler(expression).filter(parse(expression), _Scope(fields))


@dataclass(frozen=True, slots=True)
class _Scope:
    """The meaning of names at one place. ``over`` has the names of the innermost any or all."""

    fields: Fields
    over: tuple[str, ...] | None = None
    nesting: int = 0


class _Compiler:
    def __init__(self, text: str) -> None:
        self._text = text
        self._terms = 0
        self._patterns = 0
        self._steps_of_patterns = 0

    def filter(self, node: Node, scope: _Scope) -> Filter:
        match node:
            case Tree(data="or_", children=parts):
                return _until(True, [self.filter(part, scope) for part in parts])
            case Tree(data="and_", children=parts):
                return _until(False, [self.filter(part, scope) for part in parts])
            case Tree(data="not_", children=[Token() as opening, inner]):
                return _opposite(self.filter(inner, self._deeper(opening, scope)))
            case Tree(data="group", children=[Token() as opening, inner]):
                return self.filter(inner, self._deeper(opening, scope))
            case Tree(data="match", children=[left, Token() as operator, right]):
                return self._match(left, operator, right, scope)
            case Tree(data="emptiness", children=[left, Token() as operator]):
                return self._emptiness(left, operator, scope)
            case Tree(data="quantified", children=[Token() as opening, source, names, body]):
                return self._quantified(opening, source, names, body, self._deeper(opening, scope))
        raise AssertionError(node)

    def _deeper(self, opening: Token, scope: _Scope) -> _Scope:
        if scope.nesting == NESTING_MAXIMUM:
            raise self._at(opening)(f"nested more than {NESTING_MAXIMUM} deep")
        return replace(scope, nesting=scope.nesting + 1)

    def _match(self, left: Node, operator: Token, right: Node, scope: _Scope) -> Filter:
        self._count_term(operator)
        written = operator.split()[-1]
        name, side = written.replace("!=", "=="), f"on the left of {written}"
        if name == "in":
            left, right, name, side = right, left, "contains", "on the right of in"
        made = self._relation(name, self._field(left, scope, side), right, scope)
        return _opposite(made) if operator.startswith(("!", "not")) else made

    def _count_pattern(self, value: Value, refuse: Refuse) -> None:
        """Add a pattern to the expression's budget: the worst-case time of a search grows with the
        steps of all patterns together.
        """
        self._patterns += 1
        if self._patterns > PATTERNS_MAXIMUM:
            raise refuse(f"more than {PATTERNS_MAXIMUM} patterns")
        self._steps_of_patterns += pattern(value.text, refuse).programsize
        if self._steps_of_patterns > STEPS_MAXIMUM:
            raise refuse("the patterns are too large together: repeat less, and name fewer classes")

    def _relation(self, name: str, left: Selected, right: Node, scope: _Scope) -> Filter:
        refuse = self._at(right)
        if name == "matches":
            self._count_pattern(self._value(right), refuse)
        elif name != "contains" and left.kind != ANY:
            comparable(name, left.name, left.kind, refuse)
        if isinstance(right, Tree) and _is_field(name, left.kind, self._steps(right), scope):
            field = select(self._steps(right), scope.fields, refuse)
            return against_field(name, left, field, refuse)
        return against_value(name, left, self._value(right), refuse)

    def _emptiness(self, left: Node, operator: Token, scope: _Scope) -> Filter:
        self._count_term(operator)
        field = self._field(left, scope, "on the left of is")
        made = not_nil(field) if operator.endswith("nil") else not_empty(field, self._at(left))
        return made if "not" in operator else _opposite(made)

    def _quantified(
        self, quantifier: Token, source: Node, names: Node, body: Node, scope: _Scope
    ) -> Filter:
        self._count_term(quantifier)
        collection = self._field(source, scope, f"on the right of {quantifier}")
        if scope.over is not None and self._steps(source)[0] not in scope.over:
            raise self._at(source)("an inner any or all must range over a name of the outer one")
        named = self._named(collection, names)
        known = {name: kind for name, kind in named if name != "_"}
        fields = Fields({**scope.fields.by_name, **known})
        part = self.filter(body, replace(scope, fields=fields, over=tuple(known)))
        written = tuple(name for name, _ in named)
        return _each(collection, written, part, quantifier == "all", self._at(source))

    def _named(self, collection: Selected, names: Node) -> list[tuple[str, Kind]]:
        """Return the names of an any or all with their kinds.

        A single name is the item of a list or the key of a map; two names are the index or key, and
        the item.
        """
        written = [str(name) for name in names.children] if isinstance(names, Tree) else []
        if written == written[:1] * 2 and "_" not in written:
            raise self._at(names)(f"{shown(written[0])} cannot name both the key and the value")
        match collection.kind:
            case List(of=of):
                kinds: tuple[Kind, ...] = (of,) if len(written) == 1 else (NUMBER, of)
            case Map(of=of):
                kinds = (TEXT, of)
            case kind if kind == ANY:
                kinds = (ANY, ANY)
            case kind:
                raise self._at(names)(f"{collection.name} is {kind.name}, not a list or a map")
        return list(zip(written, kinds, strict=False))

    def _field(self, node: Node, scope: _Scope, side: str) -> Selected:
        steps = self._steps(node)
        if not steps:
            names = ", ".join(sorted(scope.fields.by_name))
            raise self._at(node)(f"expected a field {side}, not a value; use one of: {names}")
        return select(steps, scope.fields, self._at(node))

    def _steps(self, node: Node) -> list[str]:
        """Return the steps of a path or of a pointer in quotes; none for a value."""
        if isinstance(node, Tree):
            return [self._text_of(part) for part in node.children if isinstance(part, Token)]
        return pointer(self._text_of(node)) if node.startswith('"/') else []

    def _value(self, node: Node) -> Value:
        if isinstance(node, Tree):
            return Value(".".join(self._steps(node)))
        return Value(self._text_of(node), node.type == "NUMBER")

    def _text_of(self, token: Token) -> str:
        if token.type not in ("STRING", "RAW"):
            return str(token)
        try:
            return unquote(token)
        except ValueError as error:
            raise self._at(token)(str(error)) from error

    def _count_term(self, token: Token) -> None:
        self._terms += 1
        if self._terms > TERMS_MAXIMUM:
            raise self._at(token)(f"more than {TERMS_MAXIMUM} comparisons")

    def _at(self, node: Node) -> Refuse:
        token = node
        while isinstance(token, Tree):
            token = token.children[0]
        return partial(refusal, self._text, token.start_pos or 0)


def _is_field(name: str, kind: Kind, steps: list[str], scope: _Scope) -> bool:
    """Return whether a word without quotes on the right-hand side is a field.

    After ``==`` it is a value if it can be read as one, as in go-bexpr, which has no fields there.
    The ordering operators are plugind's own, and take fields.
    """
    if name in ("contains", "matches"):
        return False
    if name != "==":
        return True
    if steps[0] not in scope.fields.by_name or not isinstance(kind, Scalar) or kind == ANY:
        return False
    try:
        read(kind, ".".join(steps))
    except ValueError:
        return True
    return False


def _until(decisive: bool, parts: Sequence[Filter]) -> Filter:
    """Return a filter that asks one part after another until one returns ``decisive``."""

    def filter(row: Row) -> bool:
        for part in parts:  # any() and all() of a generator take twice as long
            if part(row) is decisive:
                return decisive
        return not decisive

    return filter


def _opposite(part: Filter) -> Filter:
    return lambda row: not part(row)


def _each(
    collection: Selected, names: tuple[str, ...], part: Filter, every: bool, refuse: Refuse
) -> Filter:
    """Return a filter of the rows for which ``part`` is true of every item, or of at least one.

    For an empty collection, ``every`` is true and its opposite is not.
    """

    def filter(row: Row) -> bool:
        found = collection.get(row)
        if found is None:
            return every
        if not isinstance(found, Mapping | list):
            raise refuse(f"{collection.name} is {kind_of(found).name}, not a list or a map")
        items: Iterable[tuple[Any, ...]] = zip(found, strict=True)
        if len(names) > 1:
            items = found.items() if isinstance(found, Mapping) else enumerate(found)
        within = Within(row)
        for values in items:
            within.named = dict(zip(names, values, strict=True))
            if part(within) != every:
                return not every
        return every

    return filter
