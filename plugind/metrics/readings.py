"""The types of the values that a source of metrics yields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from plugind.tally import Counts, Labels, Tally

T = TypeVar("T")

Rows = Iterable[tuple[Labels, float]]
Reading = tuple[str, Rows | Tally | Counts]
"""The name of a metric, and its values by labels, the tally that has them, or a tally's counts."""


class Pace(Protocol):
    """A function that yields the given values, and lets other threads run now and then."""

    def __call__(self, values: Iterable[T], /) -> Iterator[T]: ...
