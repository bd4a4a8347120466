"""Random expressions mean what their tree means, naively evaluated; any text is read or refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from plugind import filtering
from plugind.errors import BadRequest
from tests.filtering.rows import FIELDS, ROW
from tests.filtering.trees import expressions, naive, rows

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

LEXEMES = [
    *("N", "T", "S", "M", "A.n", "G", "X", "x", "1", "-2", "1.5", '"a"', '"/N"', "`b`", '"', "`"),
    *(
        "==",
        "!=",
        "<",
        ">=",
        "=",
        "in",
        "not",
        "is",
        "empty",
        "nil",
        "contains",
        "matches",
        "and",
        "or",
    ),
    *("any", "all", "as", "{", "}", "(", ")", "[", "]", ".", ",", "\\", "\n", "é", "\0", "\ud800"),
]


@settings(patient, max_examples=400)
@given(expressions(), st.lists(rows, min_size=1, max_size=4))
def test_an_expression_means_what_its_tree_means(
    written: tuple[str, Any], some: list[dict[str, Any]]
) -> None:
    check(written, some)


@pytest.mark.soak
@settings(patient, max_examples=10_000)
@given(expressions(), st.lists(rows, min_size=1, max_size=4))
def test_many_expressions_mean_what_their_trees_mean(
    written: tuple[str, Any], some: list[dict[str, Any]]
) -> None:
    check(written, some)


def check(written: tuple[str, Any], some: list[dict[str, Any]]) -> None:
    text, tree = written
    keep = filtering.compile(text, FIELDS)
    for row in some:
        wanted = naive(tree, row)
        event(f"{tree[0]}: {wanted}")
        assert keep(row) is wanted


@settings(patient, max_examples=400)
@given(st.text(max_size=40) | st.lists(st.sampled_from(LEXEMES), max_size=14).map(" ".join))
@example("any X as x { x.k == 1 }")
@example("A.n == 1 or T matches `\0`")
def test_any_text_is_an_expression_or_a_mistake(text: str) -> None:
    error = mistake(text)
    if error is not None:
        place = re.fullmatch(r"filter:(\d+):(\d+): \S.*", error)
        assert place, error
        line, column = int(place[1]), int(place[2])
        assert column <= len(text.split("\n")[line - 1]) + 1


def mistake(text: str) -> str | None:
    try:
        assert filtering.compile(text, FIELDS)(ROW) in (True, False)
    except BadRequest as error:
        return str(error)
    return None
