"""No expression is expensive to read or refuse, or to apply to a thousand rows."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from plugind import filtering
from plugind.errors import BadRequest
from plugind.filtering.parsing import LENGTH_MAXIMUM
from plugind.filtering.selecting import Row
from tests.filtering.rows import FIELDS, ROW
from tests.promises import COMMAND_MAXIMUM


def patterns(one: str) -> str:
    return " and ".join([f"T not matches `{one}`"] * 8)[:LENGTH_MAXIMUM]


NASTY = {
    "parentheses": "(" * LENGTH_MAXIMUM,
    "closed parentheses": "(" * 2000 + "N == 1" + ")" * 2000,
    "nots": "not " * 1000 + "N == 1",
    "not in": "not in " * 500,
    "white space": "N not" + " " * 4000 + "x",
    "quotes": '"' * LENGTH_MAXIMUM,
    "escapes": 'T == "' + "\\\\" * 2000 + '"',
    "open escapes": 'T == "' + "\\" * 4000,
    "a long word": "x" * LENGTH_MAXIMUM,
    "a long path": "T" + ".a" * 2000 + " == 1",
    "a long path to nothing": "A" + ".a" * 2000 + " == 1",
    "a long number": "N == " + "9" * 4000,
    "a long number in text": 'N < "' + "1_" * 2000 + '"',
    "a large exponent": 'N == "1e' + "9" * 4000 + '"',
    "a large index": "L." + "9" * 4000 + " == 1",
    "terms": "N==1 or " * 500 + "N==1",
    "any in any": "any A as x { " * 100 + "N == 1" + " }" * 100,
    "any in any of the same": "any A as x { any x as y { any x as z { N == 1 } } }",
    "twice too large": 'N == "1' + "0" * 4000 + '"',
    "alternatives": patterns("(x+x+)+y"),
    "optional": patterns("(a?){200}" + "a" * 200),
    "nested repeats": patterns("((a{10}){10}){10}"),
    "too large a repeat": patterns("((a{100}){100}){100}"),
    "classes": patterns(r"\pL" * 150),
    "repeated classes": patterns(r"(\pL|\pN){500}"),
    "any then that": patterns(".*a.{400}"),
    "groups": patterns("(" * 200 + "a" + ")" * 200),
    "stars": patterns("(a*)*" * 80),
}


def cost(call: Callable[[], Any]) -> float:
    """Return the processor time of a call, the lower of two."""
    taken = []
    for _ in range(2):
        filtering.compile.cache_clear()
        begun = time.thread_time()
        call()
        taken.append(time.thread_time() - begun)
    return min(taken)


@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_expression_is_read_or_refused_at_once(name: str) -> None:
    assert len(NASTY[name]) <= LENGTH_MAXIMUM

    said: list[str] = []

    def attempt() -> None:
        try:
            filtering.compile(NASTY[name], FIELDS)(ROW)
        except BadRequest as error:
            said.append(str(error))

    assert cost(attempt) < 0.1
    assert all(len(text) < 300 for text in said)


ROWS = [
    {
        **ROW,
        "T": f"ebs{number}.sample.plugind",
        "N": number % 3,
        "G": [{"T": "one", "N": 1}] * 10,
        "A": {str(key): "a" * 40 for key in range(20)},
    }
    for number in range(1000)
]


def kept(expression: str) -> list[Row]:
    return [row for row in ROWS if filtering.compile(expression, FIELDS)(row)]


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("N < R.N and T contains ebs", 1000),
        ("N == 1 or not (N < 2)", 666),
        ('T matches "^ebs[0-9]*7[.]"', 100),
        ('zone in M and M["zone"] == z1 and W > "2026-01-01T00:00:00Z"', 1000),
    ],
)
def test_a_filter_of_a_thousand_rows(expression: str, count: int) -> None:
    assert len(kept(expression)) == count
    assert cost(lambda: kept(expression)) < 0.02


@pytest.mark.parametrize(
    "expression",
    [
        " and ".join(["N != 5"] * 128),
        "any A as k, v { v == x or k == y or v contains z }",
        "all G as g { g.N == 1 and g.T == one }",
        patterns(".*a.{40}"),
    ],
)
def test_the_most_expensive_filters_of_a_thousand_rows(expression: str) -> None:
    assert cost(lambda: kept(expression)) < 0.5


def test_compiled_expressions_are_kept() -> None:
    made = filtering.compile("N == 1", FIELDS)
    assert filtering.compile("N == 1", FIELDS) is made
    assert filtering.compile("N == 1", filtering.Fields(FIELDS.by_name)) is not made
    for number in range(1000):
        filtering.compile(f"N == {number}", FIELDS)
    assert filtering.compile.cache_info().currsize <= 64


def test_threads_share_the_parser() -> None:
    def right(number: int) -> bool:
        expression = f'N == {number} and T matches "{number}" or any S as s {{ s == x{number} }}'
        row = {"N": number, "T": str(number), "S": []}
        keep = filtering.compile(expression, FIELDS)
        return keep(row) and not keep({**row, "N": -1})

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(right, range(400)))


def test_the_parser_is_made_quickly() -> None:
    """Make the parser cost little compared with the modules that the server loads anyway."""
    code = (
        "import time, hcl2, marshmallow, plugind.fields\n"
        "begun = time.process_time()\n"
        "import plugind.filtering\n"
        "print(time.process_time() - begun)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=COMMAND_MAXIMUM,
        check=True,
    )
    assert float(done.stdout) < 0.25
