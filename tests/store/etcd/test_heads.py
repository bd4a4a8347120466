"""Reads of the newest index; callers that ask at the same time share one read."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from plugind.errors import StoreError
from plugind.store.etcd.heads import Heads
from tests.promises import PATIENCE, eventually


class Slow:
    """A read that lasts until it is released; ``value`` is its result, fixed when it begins."""

    def __init__(self) -> None:
        self.value = 0
        self.begun = 0
        self.release = threading.Semaphore(0)

    def __call__(self) -> int:
        value = self.value
        self.begun += 1
        assert self.release.acquire(timeout=PATIENCE)
        if value < 0:
            raise StoreError("away")
        return value


def together(number: int, task: Callable[[], int]) -> tuple[list[threading.Thread], list[object]]:
    found: list[object] = []

    def run() -> None:
        try:
            found.append(task())
        except StoreError as error:
            found.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads, found


def test_who_comes_during_a_read_gets_the_one_after_it() -> None:
    read = Slow()
    heads = Heads(read)
    first, early = together(1, heads.newest)
    eventually(lambda: read.begun == 1)
    read.value = 5
    others, late = together(50, heads.newest)
    read.release.release(3)
    for thread in (*first, *others):
        thread.join(PATIENCE)
    assert early == [0]
    assert set(late) == {5}
    # Threads that arrived after the second read began share at most one more read.
    assert read.begun <= 3
    read.release.release(50)


def test_a_failure_reaches_all_who_waited_and_no_later_one() -> None:
    read = Slow()
    heads = Heads(read)
    read.value = -1
    read.release.release(10)
    threads, found = together(5, heads.newest)
    for thread in threads:
        thread.join(PATIENCE)
    assert set(found) == {"away"}
    read.value = 7
    assert heads.newest() == 7
    read.value = -1
    with pytest.raises(StoreError, match="away"):
        heads.newest()
