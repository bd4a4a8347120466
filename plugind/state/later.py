"""A value that is worked out when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

V = TypeVar("V")


class Later(Generic[V]):
    """The value that ``make`` returns, called once; two threads that ask first may both call it."""

    __slots__ = ("_make", "_value")

    def __init__(self, make: Callable[[], V]) -> None:
        self._make: Callable[[], V] | None = make
        self._value: V | None = None

    def get(self) -> V:
        make = self._make
        if make is not None:
            self._value = make()
            self._make = None  # with all that it refers to
        assert self._value is not None
        return self._value
