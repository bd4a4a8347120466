"""Whole answers that are kept: how many, for how long, and which are dropped first."""

from __future__ import annotations

import pytest

from plugind.catalogue import answers
from plugind.catalogue.answers import OVERHEAD, Answers

LIST, OTHER = "plugins/csi", "plugins/exec"


def kept(of: Answers[str], number: int) -> list[int]:
    """Return the keys, out of ``number``, that have an answer; no answer counts as used."""
    return [key for key in range(number) if key in of._kept]


def test_an_answer_is_kept_by_its_key_until_its_resource_changes() -> None:
    made: Answers[str] = Answers(2**20)
    made.put(1, "one", LIST, 10)
    made.put(2, "two", OTHER, 20)
    assert (made.get(1), made.get(2), made.get(3), made.get(None)) == ("one", "two", None, None)
    assert made.bytes == 30 + 2 * OVERHEAD
    made.drop([LIST, "nodes"])
    assert (made.get(1), made.get(2)) == (None, "two")
    assert made.bytes == 20 + OVERHEAD


def test_a_key_has_one_answer() -> None:
    made: Answers[str] = Answers(2**20)
    made.put(1, "old", LIST, 1_000)
    made.put(1, "new", OTHER, 10)
    assert (made.get(1), made.bytes) == ("new", 10 + OVERHEAD)
    made.drop([LIST])
    assert made.get(1) == "new"
    made.drop([OTHER])
    assert (made.get(1), made.bytes, made._of) == (None, 0, {})


def test_the_bytes_are_bounded_and_those_go_first_that_nobody_asks_for() -> None:
    made: Answers[str] = Answers(4 * (OVERHEAD + 100))
    for key in range(4):
        made.put(key, "", LIST, 100)
    assert made.get(0) is not None
    made.put(4, "", LIST, 100)
    assert kept(made, 5) == [0, 2, 3, 4]
    made.put(5, "", LIST, 100)
    made.put(6, "", LIST, 100)
    made.put(7, "", LIST, 100)
    assert kept(made, 8) == [0, 5, 6, 7]
    made.put(8, "", LIST, 100)
    assert kept(made, 9) == [5, 6, 7, 8], "a use counts once"
    assert made.bytes == 4 * (OVERHEAD + 100)


def test_an_answer_that_is_too_large_is_not_kept_and_moves_none() -> None:
    made: Answers[str] = Answers(2 * OVERHEAD)
    made.put(1, "", LIST, 0)
    made.put(2, "", LIST, OVERHEAD + 1)
    assert (made.get(1), made.get(2)) == ("", None)
    nothing: Answers[str] = Answers(0)
    nothing.put(1, "", LIST, 0)
    assert (nothing.get(1), nothing.bytes) == (None, 0)


def test_the_entries_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "ENTRIES_MAXIMUM", 3)
    made: Answers[str] = Answers(2**30)
    for key in range(10):
        made.put(key, "", LIST, 0)
    assert kept(made, 10) == [7, 8, 9]
    made.clear()
    assert (kept(made, 10), made.bytes) == ([], 0)
    made.put(1, "", LIST, 0)
    assert (kept(made, 10), made.bytes) == ([1], OVERHEAD)
