"""The cache of answers: each is made once, from exactly the bytes that it shows, within limits."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from plugind.catalogue.views import OVERHEAD, Views
from tests.promises import PATIENCE
from tests.support import eventually

SIZE = 1_000
LIST = "plugins/csi"


def made(text: str = "x") -> bytes:
    return (text * SIZE).encode()


def test_a_view_is_made_once() -> None:
    views, base, calls = Views(10**6), object(), []

    def make() -> bytes:
        calls.append(1)
        return made()

    first = views.get(LIST, base, "pretty", make)
    assert views.get(LIST, base, "pretty", make) is first
    assert len(calls) == 1


def test_another_base_view_or_resource_is_another_answer() -> None:
    views, one, other = Views(10**6), object(), object()
    keys = [(LIST, one, "a"), (LIST, other, "a"), (LIST, one, "b"), ("nodes", one, "a")]
    for number, key in enumerate(keys):
        views.get(*key, lambda number=number: made(str(number)))
    for number, key in enumerate(keys):
        assert views.get(*key, lambda: made("new")) == made(str(number))


def test_a_change_drops_what_hangs_on_it_and_nothing_else() -> None:
    views, base = Views(10**6), object()
    views.get(LIST, base, "a", made)
    views.get("nodes", base, "a", made)
    views.drop([LIST])
    assert views.bytes == SIZE + OVERHEAD
    assert views.get(LIST, base, "a", lambda: made("new")) == made("new")
    assert views.get("nodes", base, "a", lambda: made("new")) == made()


def test_the_bytes_are_bounded_and_the_oldest_go_first() -> None:
    views, base = Views(3 * (SIZE + OVERHEAD)), object()
    for name in "abc":
        views.get(LIST, base, name, made)
    views.get(LIST, base, "a", made)
    views.get(LIST, base, "d", made)
    assert views.bytes == 3 * (SIZE + OVERHEAD)
    assert views.get(LIST, base, "a", lambda: made("new")) == made()
    assert views.get(LIST, base, "b", lambda: made("new")) == made("new")


def test_an_answer_too_large_to_be_kept_is_sent_all_the_same() -> None:
    views = Views(0)
    assert views.get(LIST, object(), "a", made) == made()
    assert views.bytes == 0


def test_simultaneous_requests_share_one_answer() -> None:
    views, base, calls, go_on = Views(10**6), object(), [], threading.Event()

    def make() -> bytes:
        calls.append(1)
        go_on.wait(PATIENCE)
        return made()

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(views.get, LIST, base, "a", make) for _ in range(8)]
        eventually(lambda: calls)
        go_on.set()
        assert len({id(each.result(PATIENCE)) for each in answers}) == 1
    assert len(calls) == 1


def test_a_failure_is_everyones_and_is_not_kept() -> None:
    views, base = Views(10**6), object()

    def fail() -> bytes:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        views.get(LIST, base, "a", fail)
    assert views.get(LIST, base, "a", made) == made()


def test_an_answer_made_while_its_base_changes_is_not_used_for_the_new_base() -> None:
    views, old, new = Views(10**6), object(), object()

    def make() -> bytes:
        views.drop([LIST])
        return made("old")

    assert views.get(LIST, old, "a", make) == made("old")
    assert views.get(LIST, new, "a", lambda: made("new")) == made("new")
    assert views.bytes == 3 * SIZE + OVERHEAD
