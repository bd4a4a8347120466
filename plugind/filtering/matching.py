"""What each operator asks of a value, by the value's kind.

What does not exist and what is null are alike: equal to nothing, in no order to anything,
containing nothing, matching nothing, and empty. The negated operators are the opposite of that.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import re2

from plugind.fields import parse_time
from plugind.filtering.kinds import (
    ANY,
    BOOL,
    NUMBER,
    TEXT,
    TIME,
    Kind,
    List,
    Map,
    Scalar,
    kind_of,
)
from plugind.filtering.literals import number, read, shown
from plugind.filtering.selecting import Refuse, Row, Selected

PATTERN_MAXIMUM = 512
_PATTERN_MEMORY = 512 * 1024  # of a compiled pattern; bounds its size and so its time as well

Filter = Callable[[Row], bool]
Test = Callable[[Any], bool]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# The same with the sides exchanged, so that the side that is known can be bound first.
_EXCHANGED = {"==": "==", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Value:
    """A value as it is written; ``bare_number`` is whether as a number without quotes."""

    text: str
    bare_number: bool = False


def against_value(name: str, left: Selected, right: Value, refuse: Refuse) -> Filter:
    """Whether what is selected stands in a relation to a value: ``==``, ``<``, ``contains``..."""
    build = _TESTS.get(name, partial(_comparison, name))
    return _of_one(left, lambda kind: build(left.name, kind, right, refuse))


def not_empty(left: Selected, refuse: Refuse) -> Filter:
    """Whether what is selected is there and is not empty."""

    def build(kind: Kind) -> Test:
        if kind in (NUMBER, BOOL):
            raise refuse(f"{left.name} is {kind.name}; empty can be text, a list or a map")
        return bool

    return _of_one(left, build)


def against_field(name: str, left: Selected, right: Selected, refuse: Refuse) -> Filter:
    """Whether two of a row's own values stand in a relation."""
    compare = _COMPARE[name]
    get, other = left.get, right.get
    prepare = _pairs(name, left, right, refuse)

    def test(row: Row) -> bool:
        one, two = get(row), other(row)
        return one is not None and two is not None and compare(*prepare(one, two))

    return test


def _of_one(left: Selected, build: Callable[[Kind], Test]) -> Filter:
    """A filter of a value's test; where the kind is not known before, it is that of the value."""
    get = left.get
    test = _late(build) if left.kind == ANY else build(left.kind)

    def filter(row: Row) -> bool:
        value = get(row)
        return value is not None and test(value)

    return filter


def _late(build: Callable[[Kind], Test]) -> Test:
    built: dict[Kind, Test] = {}

    def test(value: Any) -> bool:
        kind = kind_of(value)
        if kind not in built:
            built[kind] = build(kind)
        return built[kind](value)

    return test


def _pairs(
    name: str, left: Selected, right: Selected, refuse: Refuse
) -> Callable[[Any, Any], tuple[Any, Any]]:
    """What makes two values comparable, or refuses them; as early as their kinds are known."""

    def check(one: Kind, two: Kind) -> None:
        if one != two:
            raise refuse(
                f"{left.name} is {one.name} and {right.name} is {two.name}: not comparable"
            )
        comparable(name, left.name, one, refuse)

    def late(one: Any, two: Any) -> tuple[Any, Any]:
        check(kind_of(one), kind_of(two))
        return one, two

    if ANY in (left.kind, right.kind) and TIME not in (left.kind, right.kind):
        return late
    check(left.kind, right.kind)
    if left.kind == TIME:
        return lambda one, two: (parse_time(one), parse_time(two))
    return lambda one, two: (one, two)


def comparable(name: str, field: str, kind: Kind, refuse: Refuse) -> Scalar:
    """The kind of a field that can stand beside ``==`` or an operator of order, or an error."""
    if not isinstance(kind, Scalar) or kind == ANY:
        raise refuse(f"{field} is {kind.name}, which {name} cannot compare; see contains and any")
    if kind == BOOL and name != "==":
        raise refuse(f"{field} is {kind.name}, which {name} cannot order")
    return kind


def _comparison(name: str, field: str, kind: Kind, value: Value, refuse: Refuse) -> Test:
    scalar = comparable(name, field, kind, refuse)
    if scalar == TEXT and value.bare_number and name != "==":
        return _ordered_as_number(_COMPARE[name], number(value.text))
    wanted = _read(field, scalar, value, refuse)
    against: Test = partial(_COMPARE[_EXCHANGED[name]], wanted)
    return (lambda found: against(parse_time(found))) if scalar == TIME else against


def _ordered_as_number(compare: Callable[[Any, Any], bool], wanted: float) -> Test:
    """Text beside a number without quotes: text that is no number is in no order to it."""

    def test(found: str) -> bool:
        try:
            return compare(number(found), wanted)
        except ValueError:
            return False

    return test


def _read(field: str, kind: Scalar, value: Value, refuse: Refuse) -> Any:
    try:
        return read(kind, value.text)
    except ValueError as error:
        raise refuse(f"{field} is {kind.name}, not '{shown(value.text)}'") from error


def _contains(field: str, kind: Kind, value: Value, refuse: Refuse) -> Test:
    match kind:
        case Map():
            return lambda found: value.text in found
        case List(of=Scalar() as of):
            return _has_item(field, of, value, refuse)
    if kind in (TEXT, TIME):
        return lambda found: value.text in found
    what = "a list of groups" if isinstance(kind, List) else kind.name
    raise refuse(f"{field} is {what}; contains and in look into text, lists of values and maps")


def _has_item(field: str, kind: Scalar, value: Value, refuse: Refuse) -> Test:
    if kind != ANY:
        equal = _comparison("==", field, kind, value, refuse)
        return lambda found: any(item is not None and equal(item) for item in found)
    # Items of several kinds: those that the value cannot be read as are not it.
    wanted: dict[Kind, Any] = {}
    for scalar in (TEXT, NUMBER, BOOL):
        try:
            wanted[scalar] = read(scalar, value.text)
        except ValueError:
            continue
    return lambda found: any((kind_of(item), item) in wanted.items() for item in found)


def _matches(field: str, kind: Kind, value: Value, refuse: Refuse) -> Test:
    if kind not in (TEXT, TIME):
        raise refuse(f"{field} is {kind.name}; matches looks into text")
    search = pattern(value.text, refuse).search
    return lambda found: search(found) is not None


def pattern(text: str, refuse: Refuse) -> Any:
    """A compiled RE2 pattern, which takes a time in proportion to the text that it searches."""
    if len(text) > PATTERN_MAXIMUM:
        raise refuse(f"the pattern is longer than {PATTERN_MAXIMUM} characters")
    options = re2.Options()
    options.max_mem = _PATTERN_MEMORY
    options.log_errors = False
    options.never_capture = True
    try:
        return re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace")
        raise refuse(f"the pattern is none that RE2 takes: {shown(reason)}") from error


_TESTS = {"contains": _contains, "matches": _matches}
