"""The runs of a server process: spans of time in which it ran without a gap."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import uuid4

from plugind.feed.liveness import MARK_INTERVAL
from plugind.model import Run
from plugind.model.times import SECOND

GAP = round(2 * MARK_INTERVAL * SECOND)
"""Nanoseconds without a mark after which a run is over."""

SET_BACK = 60 * SECOND
"""A run is also over if the clock is set back by more than this number of nanoseconds."""


class Running:
    """Stores with ``keep(run_id)`` that this process runs. A new run begins after the machine was
    suspended, the clock was set, or marks failed for long. Safe for threads, but ``mark`` must be
    called from one thread at a time."""

    def __init__(
        self, keep: Callable[[str], object], clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._keep = keep
        self._clock = clock
        self._run = _begun(clock())

    def mark(self) -> None:
        """Store that the process runs now. Raise StoreError."""
        now, run = self._clock(), self._run
        if now < run.end - SET_BACK:
            self._keep(run.id)  # so that it does not end in the future
        if _is_over(run, now):
            run = _begun(now)
        self._keep(run.id)
        self._run = run._replace(end=max(run.start, now))

    def at(self, now: int) -> Run:
        """Return the last run, until now if it still goes on."""
        run = self._run
        return run if _is_over(run, now) else Run(run.id, min(run.start, now), now)


def _begun(now: int) -> Run:
    return Run(uuid4().hex, now, now)


def _is_over(run: Run, now: int) -> bool:
    return not -SET_BACK <= now - run.end <= GAP
