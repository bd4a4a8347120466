"""A clock for tallies."""

from __future__ import annotations

from plugind.tally import INTERVAL


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def time(self) -> float:
        return self.now

    @property
    def number(self) -> int:
        return int(self.now // INTERVAL)
