"""Does long work in slices, between which other threads get the interpreter."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

SLICE = 0.0002
"""Seconds of work between two pauses. Without pauses a running thread is interrupted only after
``sys.getswitchinterval()``, 5 ms, and a short request would have to wait for that several times."""

_PAUSE = 1e-6

_STEP = 16
"""Values between two looks at the clock, as long as they take little of a slice."""

T = TypeVar("T")


def in_slices(values: Iterable[T]) -> Iterator[T]:
    """Yield the values, with a short pause after each slice of work on them."""
    begun = looked = time.perf_counter()
    step = left = 1
    for value in values:
        yield value
        left -= 1
        if left:
            continue
        now = time.perf_counter()
        step = left = _STEP if now - looked < step * SLICE / _STEP else 1
        looked = now
        if now - begun > SLICE:
            time.sleep(_PAUSE)
            begun = looked = time.perf_counter()
