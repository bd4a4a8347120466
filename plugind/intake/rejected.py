"""What the answer to a report tells of what was not taken."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rejected:
    """What a report had and was not taken, as the answer tells it. ``field`` is a dotted path."""

    type: str
    id: str
    role: str
    field: str
    reason: str
