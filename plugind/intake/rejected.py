"""The part of the answer to a report that names what was rejected."""

from __future__ import annotations

from dataclasses import dataclass

WAS_REJECTED = "the agent's report of it was rejected:"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A part of a report that was not accepted. ``field`` is a dotted path.

    ``limit`` is the setting of ``server`` that left no room for it; "" if the reason is another.
    """

    type: str
    id: str
    role: str
    field: str
    reason: str
    limit: str = ""
