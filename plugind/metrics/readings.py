"""What a source of metrics gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from plugind.tally import Counts, Labels, Tally

T = TypeVar("T")

Rows = Iterable[tuple[Labels, float]]
Reading = tuple[str, Rows | Tally | Counts]
"""The name of a metric, and its values by labels, or the tally that has them, or its counts."""


class Pace(Protocol):
    """A function that yields values, and lets other threads run now and then."""

    def __call__(self, values: Iterable[T], /) -> Iterator[T]: ...
