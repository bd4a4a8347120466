"""The meaning of each operator for each kind of value.

An absent value is treated like null: it equals nothing, is neither less nor greater than anything,
contains nothing, matches nothing, and is empty. The negated operators return the opposite.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import re2

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
from plugind.filtering.selecting import Filter, Refuse, Row, Selected
from plugind.model.times import parse_time

PATTERN_MAXIMUM = 512
_PATTERN_MEMORY = 512 * 1024
"""Maximum bytes of a compiled pattern, which limits its size and so the time of a search."""

Test = Callable[[Any], bool]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# The same operators with the sides exchanged, so that the constant can be bound first.
_EXCHANGED = {"==": "==", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Value:
    """A value as written; ``bare_number`` says that it is a number without quotes."""

    text: str
    bare_number: bool = False


def against_value(name: str, left: Selected, right: Value, refuse: Refuse) -> Filter:
    """Return a filter that compares the selected value with a constant: ``==``, ``<``,
    ``contains``...
    """
    build = _TESTS.get(name, partial(_comparison, name))
    return _of_one(left, lambda kind: build(left.name, kind, right, refuse))


def not_empty(left: Selected, refuse: Refuse) -> Filter:
    """Return a filter of the rows whose selected value exists and is not empty."""

    def build(kind: Kind) -> Test:
        if kind in (NUMBER, BOOL):
            raise refuse(f"{left.name} is {kind.name}; empty can be text, a list or a map")
        return bool

    return _of_one(left, build)


def not_nil(left: Selected) -> Filter:
    """Return a filter of the rows whose selected value exists and is not null."""
    get = left.get
    return lambda row: get(row) is not None


def against_field(name: str, left: Selected, right: Selected, refuse: Refuse) -> Filter:
    """Return a filter that compares two fields of a row."""
    get, other = left.get, right.get
    compare = _of_two(name, left, right, refuse)

    def filter(row: Row) -> bool:
        one, two = get(row), other(row)
        return one is not None and two is not None and compare(one, two)

    return filter


def _of_one(left: Selected, build: Callable[[Kind], Test]) -> Filter:
    """Return a filter that tests the selected value; if its kind is not known in advance, it is
    taken from each value.
    """
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


def _of_two(
    name: str, left: Selected, right: Selected, refuse: Refuse
) -> Callable[[Any, Any], bool]:
    """Return a comparison of two values, which raises an error if they are not comparable; if both
    kinds are known, raise the error at once.
    """
    compare = _COMPARE[name]

    def check(one: Kind, two: Kind) -> None:
        if one != two:
            raise refuse(
                f"{left.name} is {one.name} and {right.name} is {two.name}: not comparable"
            )
        comparable(name, left.name, one, refuse)

    def late(one: Any, two: Any) -> bool:
        check(kind_of(one), kind_of(two))
        return compare(one, two)

    if ANY in (left.kind, right.kind) and TIME not in (left.kind, right.kind):
        return late
    check(left.kind, right.kind)
    if left.kind == TIME:
        return lambda one, two: compare(parse_time(one), parse_time(two))
    return compare


def comparable(name: str, field: str, kind: Kind, refuse: Refuse) -> Scalar:
    """Return the kind of a field that ``==`` or an ordering operator takes; raise an error for
    other kinds.
    """
    if not isinstance(kind, Scalar) or kind == ANY:
        raise refuse(f"{field} is {kind.name}, which {name} cannot compare; see contains and any")
    if kind == BOOL and name != "==":
        raise refuse(f"{field} is {kind.name}, which {name} cannot order")
    return kind


def _comparison(name: str, field: str, kind: Kind, value: Value, refuse: Refuse) -> Test:
    scalar = comparable(name, field, kind, refuse)
    if scalar == TEXT and value.bare_number and name != "==":
        return _ordered_as_number(_COMPARE[name], number(value.text))
    try:
        wanted = read(scalar, value.text)
    except ValueError as error:
        raise refuse(f"{field} is {scalar.name}, not '{shown(value.text)}'") from error
    against: Test = partial(_COMPARE[_EXCHANGED[name]], wanted)
    return (lambda found: against(parse_time(found))) if scalar == TIME else against


def _ordered_as_number(compare: Callable[[Any, Any], bool], wanted: float) -> Test:
    """Return a test of text against a number without quotes; text that is not a number fails it."""

    def test(found: str) -> bool:
        try:
            return compare(number(found), wanted)
        except ValueError:
            return False

    return test


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
    # Items may be of several kinds; the value is compared with those that it can be read as.
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
    # As bytes: in a str, re2 converts the offsets of a match, which takes as long as the search.
    return lambda found: search(found.encode()) is not None


def pattern(text: str, refuse: Refuse) -> Any:
    """Return a compiled RE2 pattern, whose searches take time proportional to the text's length."""
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
        raise refuse(f"RE2 does not accept the pattern: {shown(reason)}") from error


_TESTS = {"contains": _contains, "matches": _matches}
