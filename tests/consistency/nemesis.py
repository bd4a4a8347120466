"""Break parts of a rig at random, on a schedule that the seed determines."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from random import Random

from tests.consistency.operations import Fault, History
from tests.consistency.rigs import KILL, Rig

TRAFFIC = 20
"""Acknowledged writes that a run needs before each fault: without traffic a fault shows nothing."""

PATIENT = 30.0
"""Seconds within which that traffic must come."""

SHORTEST = 0.2
"""The minimum duration of a fault in seconds."""


class TooThin(AssertionError):
    """There was too little traffic before a fault for the run to prove anything."""


@dataclass(frozen=True, slots=True)
class Step:
    """One fault: ``target`` is the number of the part, ``lasts`` in seconds."""

    target: int
    way: int
    lasts: float


def schedule(seed: int, faults: int, slowest: float) -> list[Step]:
    """Return the faults of a run; the same seed gives the same faults."""
    random = Random(seed)
    return [
        Step(random.randrange(2**16), random.randrange(2**16), random.uniform(SHORTEST, slowest))
        for _ in range(faults)
    ]


class Nemesis:
    """Break one part after another, each after enough traffic, and repair it."""

    def __init__(self, rig: Rig, history: History, seed: int) -> None:
        self._rig = rig
        self._history = history
        self._seed = seed
        self._until = threading.Event()
        self._mended_at = 0  # acknowledged writes

    def run(self, faults: int, until: float | None = None) -> int:
        """Apply the faults of the schedule, and start none after ``until`` on the monotonic clock;
        return the number of faults. Raise TooThin if there is too little traffic."""
        done = 0
        for step in schedule(self._seed, faults, self._rig.slowest):
            if until is not None and time.monotonic() >= until:
                break
            if not self._history.reaches(self._mended_at + TRAFFIC, PATIENT):
                count = self._history.count - self._mended_at
                raise TooThin(f"{count} writes in {PATIENT:.0f} s, not {TRAFFIC}, before {step}")
            self._break(step)
            done += 1
        return done

    def _break(self, step: Step) -> None:
        target = self._rig.targets[step.target % len(self._rig.targets)]
        way = target.ways[step.way % len(target.ways)]
        begun = time.monotonic()
        print(f"{begun:.3f} {way} {target.name} for {step.lasts:.2f} s")
        target.break_(way)
        try:
            self._until.wait(step.lasts)
        finally:
            self._mended_at = self._history.count
            target.mend(way)
        ended = time.monotonic()
        name, kills = f"{way} {target.name}", way == KILL
        self._history.faults.append(Fault(name, target.servers, begun, ended, kills))
