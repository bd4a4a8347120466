"""An invalid expression is reported in one line: its place, and what was expected there."""

from __future__ import annotations

import pytest

from plugind.filtering.compiling import NESTING_MAXIMUM, PATTERNS_MAXIMUM, TERMS_MAXIMUM
from plugind.filtering.matching import PATTERN_MAXIMUM
from plugind.filtering.parsing import LENGTH_MAXIMUM
from tests.filtering.rows import ROW, error_of, holds

NAMES = ", ".join(sorted(ROW))
OPERATORS = "an operator (==, !=, <, <=, >, >=, in, contains, matches, is empty, is nil)"
COMPARISON = 'a comparison, such as ID == "ebs0"'
VALUE = "a value: text in quotes, a word, or a number"
EARLY = "the filter ends too early; expected"
LOOK = "contains and in look into text, lists of values and maps"
EMPTY = "empty can be text, a list or a map"

GRAMMAR = [
    ("", 1, f"{EARLY} {COMPARISON}"),
    (" \n", 1, f"{EARLY} {COMPARISON}"),
    ("N", 2, f"{EARLY} {OPERATORS}"),
    ("N ==", 5, f"{EARLY} {VALUE}"),
    ("N == 1 and ", 11, f"{EARLY} {COMPARISON}"),
    ("not", 4, f"{EARLY} {COMPARISON}"),
    ("(N == 1", 8, f"{EARLY} and, or, or the ) of this ("),
    ("any S as s { s == x", 20, f"{EARLY} and, or, or the }} of this {{"),
    ("any S", 6, f"{EARLY} as, and a name"),
    ("N == 1)", 7, "this ) closes nothing"),
    ("N == 1 T", 8, "expected and, or, not 'T'"),
    ("N == 1 andT == x", 8, "expected and, or, not 'andT'"),
    ('T == "a" "b"', 10, "expected and, or, not '\"b\"'"),
    ("()", 2, f"expected {COMPARISON}, not ')'"),
    ("é == 1", 1, f"expected {COMPARISON}, not '\\xe9'"),
    ("T not foo", 3, f"expected {OPERATORS}, not 'not'"),
    ("T is nice", 3, f"expected {OPERATORS}, not 'is'"),
    ("not B", 6, f"{EARLY} {OPERATORS}"),
    ("T == 1a", 6, f"expected {VALUE}, not '1a'"),
    ("N == 1.5.6", 6, f"expected {VALUE}, not '1.5.6'"),
    ("T == >", 6, f"expected {VALUE}, not '>'"),
    ("T. == x", 4, "expected a name, not '=='"),
    ("L[1] == x", 3, "expected text in quotes, not '1]'"),
    ('M["x" == x', 7, "expected ], not '=='"),
    ("any S { s == x }", 7, "expected as, and a name, not '{'"),
    ("any S as 1 { s == x }", 10, "expected a name, not '1'"),
    ("any S as s s == x", 12, "expected {, or a second name, not 's'"),
    ("any S as s, t s == x", 15, "expected {, not 's'"),
    ("T == ebs-0", 9, "'-0' cannot be part of a word; put the text in double quotes"),
    ("T == a@b.c and N == 1", 7, "'@b.c' cannot be part of a word; put the text in double quotes"),
    ("T = x", 3, "write == for equals"),
    ("T == x && N == 1", 8, "write and"),
    ("T == x || N == 1", 8, "write or"),
    ("!N == 1", 1, "write not"),
    ("T == 'x'", 6, 'text must be in double quotes, such as "ebs0"'),
    ('T == "x', 6, "this text in quotes is not closed on its line"),
    ('T == "a\nb"', 6, "this text in quotes is not closed on its line"),
    ("T == `x", 6, "this text in backticks is never closed"),
    ("T == \ud800", 6, "this is not a Unicode character"),
]

MEANING = [
    ("Foo == 1", 1, f"no field Foo; use one of: {NAMES}"),
    ("Secret == 1", 1, f"no field Secret; use one of: {NAMES}"),
    ("renamed == 1", 1, f"no field renamed; use one of: {NAMES}"),
    ("R.Foo == 1", 1, "no field Foo in R; use one of: N, T"),
    ('"/G/0/Foo" == 1', 1, "no field Foo in G.0; use one of: N, T"),
    ("any G as g { g.Foo == 1 }", 14, "no field Foo in g; use one of: N, T"),
    ("T.x == 1", 1, "T is text, which has no x"),
    ("S.first == x", 1, "S is a list; its first item is S.0, and any asks for each"),
    ("x in Foo", 6, f"no field Foo; use one of: {NAMES}"),
    ('"T" == x', 1, f"expected a field on the left of ==, not a value; use one of: {NAMES}"),
    ("x != T", 1, f"no field x; use one of: {NAMES}"),
    ('"x" != T', 1, f"expected a field on the left of !=, not a value; use one of: {NAMES}"),
    ("1 < N", 1, f"expected a field on the left of <, not a value; use one of: {NAMES}"),
    ('T in "x"', 6, f"expected a field on the right of in, not a value; use one of: {NAMES}"),
    ('"" is empty', 1, f"expected a field on the left of is, not a value; use one of: {NAMES}"),
    (
        'any "S" as s { s == x }',
        5,
        f"expected a field on the right of any, not a value; use one of: {NAMES}",
    ),
    ("N == x", 6, "N is a number, not 'x'"),
    ('N == ""', 6, "N is a number, not ''"),
    ('N == "010"', 6, "N is a number, not '010'"),
    ('N == "1_"', 6, "N is a number, not '1_'"),
    ('N < "inf"', 5, "N is a number, not 'inf'"),
    ('N < "1e999"', 5, "N is a number, not '1e999'"),
    ('N == "\u0661"', 6, "N is a number, not '\\u0661'"),
    ("N != L", 6, "N is a number and L is a list: not comparable"),
    ("N == T", 6, "N is a number and T is text: not comparable"),
    ("N < T", 5, "N is a number and T is text: not comparable"),
    ("W < A.n", 5, "W is a time and A.n is anything: not comparable"),
    ("N < Foo", 5, f"no field Foo; use one of: {NAMES}"),
    ("T < foo", 5, f"no field foo; use one of: {NAMES}"),
    ("B == maybe", 6, "B is true or false, not 'maybe'"),
    ("B < true", 5, "B is true or false, which < cannot order"),
    ("B < Renamed", 5, "B is true or false, which < cannot order"),
    ('W > "yesterday"', 5, "W is a time, not 'yesterday'"),
    ("x in L", 1, "L is a number, not 'x'"),
    ("S == web", 6, "S is a list, which == cannot compare; see contains and any"),
    ("M >= N", 6, "M is a map, which >= cannot compare; see contains and any"),
    ("R == x", 6, "R is a group of fields, which == cannot compare; see contains and any"),
    ("2 in N", 1, f"N is a number; {LOOK}"),
    ("B contains x", 12, f"B is true or false; {LOOK}"),
    ("x in R", 1, f"R is a group of fields; {LOOK}"),
    ("x in G", 1, f"G is a list of groups; {LOOK}"),
    ("N is empty", 1, f"N is a number; {EMPTY}"),
    ("B is not empty", 1, f"B is true or false; {EMPTY}"),
    ("N matches `1`", 11, "N is a number; matches looks into text"),
    ("S matches `1`", 11, "S is a list; matches looks into text"),
    ("T matches `(`", 11, "RE2 does not accept the pattern: missing ): ("),
    ("A.n matches `[`", 13, "RE2 does not accept the pattern: missing ]: ["),
    ("T matches `(?=x)`", 11, "RE2 does not accept the pattern: invalid perl operator: (?="),
    ('T == "\\q"', 6, "\\q is not an escape; write \\\\ for \\"),
    ('T == "\\\u2028"', 6, "\\\\u2028 is not an escape; write \\\\ for \\"),
    ('T == "\\ud800"', 6, "\\ud800 is not an escape; write \\\\ for \\"),
    ('T == "\\U00110000"', 6, "\\U00110000 is not an escape; write \\\\ for \\"),
    ('T == "\\u12"', 6, "\\u is not an escape; write \\\\ for \\"),
    ('T == "\\xff"', 6, "its escapes are not UTF-8"),
    ("any N as x { x == 1 }", 10, "N is a number, not a list or a map"),
    ("all R as x { x == 1 }", 10, "R is a group of fields, not a list or a map"),
    ("any M as k, k { N == 1 }", 10, "k cannot name both the key and the value"),
    (
        "any S as s { all L as n { n == 1 } }",
        18,
        "an inner any or all must range over a name of the outer one",
    ),
    (
        "any A as k, v { all v as x, y { any v as z { N == 1 } } }",
        37,
        "an inner any or all must range over a name of the outer one",
    ),
]


@pytest.mark.parametrize(("expression", "column", "text"), GRAMMAR + MEANING)
def test_mistakes(expression: str, column: int, text: str) -> None:
    assert error_of(expression) == f"filter:1:{column}: {text}"


def test_the_line_is_reported() -> None:
    assert error_of("N == 2\n  and\n  Foo == 1").startswith("filter:3:3: no field Foo")
    assert error_of("N == 2\nand").startswith("filter:2:4: the filter ends too early")


def test_a_name_has_no_second_use_outside_of_its_braces() -> None:
    assert error_of("any S as s { s == web } and s == web").startswith("filter:1:29: no field s;")


LATE = [
    ("A.n == x", 8, "A.n is a number, not 'x'"),
    ("A.b > 1", 7, "A.b is true or false, which > cannot order"),
    ("A.list == 1", 11, "A.list is a list, which == cannot compare; see contains and any"),
    ("x in A.n", 1, f"A.n is a number; {LOOK}"),
    ("A.n matches `4`", 13, "A.n is a number; matches looks into text"),
    ("A.n is empty", 1, f"A.n is a number; {EMPTY}"),
    ("A.n < A.t", 7, "A.n is a number and A.t is text: not comparable"),
    ("A.list < A.list", 10, "A.list is a list, which < cannot compare; see contains and any"),
    ("any A.t as x { N == 1 }", 5, "A.t is text, not a list or a map"),
]


@pytest.mark.parametrize(("expression", "column", "text"), LATE)
def test_mistakes_that_only_a_row_reveals(expression: str, column: int, text: str) -> None:
    assert error_of(expression) == f"filter:1:{column}: {text}"
    holds(expression.replace("is empty", "is not empty"), {})  # without a value it is no mistake


def nested(depth: int) -> str:
    return "(" * depth + "N == 2" + ")" * depth


def test_bounds() -> None:
    long = "T != `" + "x" * (LENGTH_MAXIMUM - 7) + "`"
    assert holds(long)
    assert error_of(long + " ") == f"the filter is longer than {LENGTH_MAXIMUM} characters"

    assert holds(nested(NESTING_MAXIMUM))
    column = NESTING_MAXIMUM + 1
    assert error_of(nested(NESTING_MAXIMUM + 1)) == f"filter:1:{column}: nested more than 32 deep"
    assert holds("not " * NESTING_MAXIMUM + "N == 2")
    assert "nested more than 32 deep" in error_of("not " * (NESTING_MAXIMUM + 1) + "N == 2")

    assert holds(" and ".join(["N == 2"] * TERMS_MAXIMUM))
    more = error_of(" and ".join(["N == 1"] * (TERMS_MAXIMUM + 1)))
    assert more == f"filter:1:{len('N == 1 and ') * TERMS_MAXIMUM + 3}: more than 128 comparisons"


def test_bounds_of_patterns() -> None:
    def patterns(count: int) -> str:
        return " and ".join(["T matches `.`"] * count)

    assert holds(patterns(PATTERNS_MAXIMUM))
    assert error_of(patterns(PATTERNS_MAXIMUM + 1)).endswith(": more than 8 patterns")
    assert not holds(f"T matches `{'x' * PATTERN_MAXIMUM}`")
    assert error_of(r"T matches `\pL\pL` or T matches `\pN\pL`").startswith(
        "filter:1:33: the patterns are too large together"
    )
    wanted = "filter:1:11: the pattern is longer than 512 characters"
    assert error_of(f"T matches `{'x' * (PATTERN_MAXIMUM + 1)}`") == wanted
    assert "too large" in error_of(r"T matches `\pL{1000}`")
    assert "invalid repetition" in error_of("T matches `((a{100}){100}){100}`")
