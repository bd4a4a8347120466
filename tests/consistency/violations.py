"""The kinds of violations that the checker finds."""

from __future__ import annotations

from dataclasses import dataclass

LOST = "acknowledged write lost"
ELSEWHERE = "write at another index than acknowledged"
REFUSED = "refused write happened"
DISORDER = "write at an index before one that was acknowledged earlier"
DOUBLED = "two writes at one index"
DISAGREE = "servers disagree about the history"
CHAIN = "history with a gap or repeat"
OLD = "default read older than an acknowledged write"
BACKWARDS = "index went backwards"
MISMATCH = "content does not match its index"
UNEQUAL = "two bodies at one index"
HALF = "half of a report"
REPEATED = "event repeated"
REORDERED = "events out of order"
MISSED = "event missing"
WRONG = "event that never happened"
ASLEEP = "parked query woke late"
SPURIOUS = "parked query woke for nothing"
EARLY = "node down while its lease held"
FAULT = "fault of plugind's own"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that plugind must not do, and where it happened."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"
