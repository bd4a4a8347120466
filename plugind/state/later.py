"""A value that is computed when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

V = TypeVar("V")


class Later(Generic[V]):
    """The value that ``make`` returns. It is called once, or more often if several threads ask
    first at the same time."""

    __slots__ = ("_make", "_value")

    def __init__(self, make: Callable[[], V]) -> None:
        self._make: Callable[[], V] | None = make
        self._value: V | None = None

    def get(self) -> V:
        make = self._make
        if make is not None:
            self._value = make()
            self._make = None  # frees all that it refers to
        assert self._value is not None
        return self._value
