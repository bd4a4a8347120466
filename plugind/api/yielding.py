"""Long work in slices, between which other threads get the interpreter."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

SLICE = 0.0002
"""Seconds of work between two pauses. A thread that runs is otherwise interrupted only after
``sys.getswitchinterval()``, 5 ms, which a short request would wait for several times."""

_PAUSE = 1e-6

T = TypeVar("T")


def in_slices(values: Iterable[T]) -> Iterator[T]:
    """Yield the values, with a pause of a moment after each slice of work on them."""
    end = time.perf_counter() + SLICE
    for value in values:
        yield value
        if time.perf_counter() > end:
            time.sleep(_PAUSE)
            end = time.perf_counter() + SLICE
