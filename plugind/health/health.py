"""The health that a server or an agent reports of itself.

``/v1/agent/health`` answers every client, so a result separates what everyone may see from the
rest: fixed words and a number are safe for all, while details (names, paths, reasons) are only for
callers that may read the agent.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an operator should know.

    ``kind`` is a plural noun of plugind's own and contains no text that configuration, drivers or
    packages choose. ``count`` is the number of cases, ``details`` names them with their reasons.
    """

    kind: str
    details: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Health:
    """The health of one role of this process: whether it works, and what operators should know."""

    ok: bool = True
    findings: tuple[Finding, ...] = ()

    @property
    def summary(self) -> str:
        """Return one line of counts, which every client may see."""
        counts = (f"{finding.kind}: {finding.count}" for finding in self.findings)
        return "; ".join(["ok" if self.ok else "not ok", *counts])

    @property
    def message(self) -> str:
        """Return one line with all details, for callers that may read the agent."""
        details = (finding.details for finding in self.findings)
        return "; ".join(["ok", *details] if self.ok else details)
