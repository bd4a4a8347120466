"""The part of the answer to a report that names what was not taken."""

from __future__ import annotations

from dataclasses import dataclass

WAS_REJECTED = "the agent's report of it was rejected:"


@dataclass(frozen=True, slots=True)
class Rejected:
    """What a report had and was not taken. ``field`` is a dotted path.

    ``limit`` is the setting of ``server`` that left no room for it; "" where the reason is another.
    """

    type: str
    id: str
    role: str
    field: str
    reason: str
    limit: str = ""
