"""Field values of a list that are kept for filters belong to exactly those rows."""

from __future__ import annotations

import sys

from plugind.catalogue.columns import UNREAD, Columns, Row


def rows(*texts: str) -> tuple[Row, ...]:
    return tuple((text, f'{{"ID":"{text}"}}'.encode()) for text in texts)


def test_the_columns_of_a_version_stay_with_it() -> None:
    columns, some = Columns(), rows("a", "b")
    columns.of(some)["ID"] = ["a", "b"]
    assert columns.of(some) == {"ID": ["a", "b"]}


def test_a_row_that_changed_loses_its_values_and_the_others_keep_them() -> None:
    columns, some = Columns(), rows("a", "b", "c")
    before = columns.of(some)
    before["ID"], before["N"] = ["a", "b", "c"], [1, 2, 3]
    same = [(id_, body) for id_, body in some]  # a new list of the same rows
    equal = (some[1][0], bytes(bytearray(some[1][1])))
    after = columns.of((same[0], equal, same[2]))
    assert after == {"ID": ["a", UNREAD, "c"], "N": [1, UNREAD, 3]}
    assert before == {"ID": ["a", "b", "c"], "N": [1, 2, 3]}, "a reader of the old one goes on"


def test_rows_that_move_lose_their_values() -> None:
    columns, some = Columns(), rows("a", "b", "c")
    columns.of(some)["ID"] = ["a", "b", "c"]
    more = (*some, *rows("d"))
    assert columns.of(more) == {}, "a row came"
    columns.of(more)["ID"] = ["a", "b", "c", "d"]
    assert columns.of((*more[:2], *more[3:], *rows("e"))) == {"ID": ["a", "b", UNREAD, UNREAD]}


def test_what_a_change_replaces_is_let_go() -> None:
    columns, some = Columns(), rows("a", "b")
    body, value = some[0][1], "the value of a"
    held = sys.getrefcount(body), sys.getrefcount(value)
    columns.of(some)["ID"] = [value, "b"]
    columns.of((*rows("a"), some[1]))
    del some
    assert (sys.getrefcount(body), sys.getrefcount(value)) <= held
    assert columns.of(()) == {}
