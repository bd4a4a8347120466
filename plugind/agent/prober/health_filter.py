"""Filters the results of a target's probes, so that a short disturbance is not reported.

A target that may fail a few times keeps its health meanwhile, and one that answers slowly says so.
Both use words that stay the same while the condition lasts: it is reported once when it begins and
once when it is over, not at every probe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from types import MappingProxyType
from typing import Any

from plugind.agent.prober.results import clean
from plugind.agent.protocol import Failed, Found, Key
from plugind.model.times import SECOND, format_duration
from plugind.plugin_type import Settings

SLOW = 0.5
"""The share of probe_timeout from which on an answer is a slow one."""

BRISK = 0.35
"""The share below which it no longer is; a share between the two changes nothing."""

STREAK = 3
"""Slow answers in a row before they are noted, and brisk ones before that is over."""

_DOUBT = "probes fail, but fewer than"
_SLOWNESS = "slow: answers take"

Instances = Mapping[Key, Mapping[str, Any]]


class HealthFilter:
    """The filter of one target, which is probed as ``settings`` say.

    ``before`` is the filter of the target that had the same name. Without one the filter begins
    with ``shown``, the fingerprints that the process before this one reported of the target.
    """

    def __init__(
        self,
        settings: Settings,
        before: HealthFilter | None = None,
        shown: Instances = MappingProxyType({}),
    ) -> None:
        self._allowed = settings.unhealthy_after
        self._timeout = settings.probe_timeout
        known = {key: Standing(_plain(shown[key])) for key in shown}
        self._standings: dict[Key, Standing] = before._standings if before else known
        self._pace = Pace()

    def report(self, outcome: Found | Failed, took: float) -> Found | Failed:
        """Return what to report after a probe that took ``took`` seconds."""
        before = self._standings
        if isinstance(outcome, Found):
            found = outcome.instances
        else:
            why = {"Healthy": False, "HealthDescription": outcome.reason}
            found = {key: {**one.fingerprint, **why} for key, one in before.items()}
        self._standings = {
            key: before.get(key, Standing({})).after(found[key], self._allowed) for key in found
        }
        healthy = any(one.healthy for one in self._standings.values())
        if isinstance(outcome, Found):
            self._pace = self._pace.after(took / self._timeout, took)
        if not healthy:
            self._pace = Pace()
            return outcome
        reported = {key: one.reported(self._pace.note) for key, one in self._standings.items()}
        return Found(outcome.target, outcome.time, reported)


@dataclass(frozen=True, slots=True)
class Standing:
    """One instance: the fingerprint in force, which is the last one apart from failures still
    allowed.

    ``failures`` is the number of the last probes in a row that failed, ``successes`` of those that
    succeeded. ``doubt`` is the reason of the first of several failures, and with ``allowed`` makes
    the note; "" when the instance is steady.
    """

    fingerprint: Mapping[str, Any]
    failures: int = 0
    successes: int = 0
    doubt: str = ""
    allowed: int = 1

    @property
    def healthy(self) -> bool:
        return bool(self.fingerprint.get("Healthy"))

    def after(self, found: Mapping[str, Any], allowed: int) -> Standing:
        """Return the standing after a probe that found that; ``allowed`` failures in a row are too
        many."""
        if found["Healthy"]:
            successes = self.successes + 1
            doubt = self.doubt if successes < allowed else ""
            return Standing(found, 0, successes, doubt, allowed)
        failures = self.failures + 1
        if self.healthy and failures < allowed:
            reason = str(found.get("HealthDescription") or "unhealthy")
            doubt = self.doubt or reason
            return replace(self, failures=failures, successes=0, doubt=doubt, allowed=allowed)
        return Standing(found, failures, allowed=allowed)

    def reported(self, pace: str) -> Mapping[str, Any]:
        """Return the fingerprint; that of a healthy instance with the notes on failures and
        pace."""
        if not self.healthy or not (self.doubt or pace):
            return self.fingerprint
        words = [self.fingerprint.get("HealthDescription") or "healthy", pace]
        if self.doubt:
            words.append(f"{_DOUBT} {self.allowed} in a row: {self.doubt}")
        return {**self.fingerprint, "HealthDescription": clean("; ".join(filter(None, words)))}


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace of answers: ``note`` says that they are slow, or is "".

    ``streak`` counts the answers in a row that would change that.
    """

    note: str = ""
    streak: int = 0

    def after(self, share: float, took: float) -> Pace:
        """Return the pace after an answer that took ``took`` seconds, a ``share`` of the
        time-out."""
        other = share < BRISK if self.note else share >= SLOW
        if not other:
            return Pace(self.note)
        if self.streak + 1 < STREAK:
            return Pace(self.note, self.streak + 1)
        if self.note:
            return Pace()
        return Pace(f"{_SLOWNESS} {format_duration(round(float(f'{took:.2g}') * SECOND))}")


def _plain(shown: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fingerprint shown of a healthy instance without the notes added to its
    description."""
    if not shown["Healthy"]:
        return shown
    words = str(shown.get("HealthDescription") or "").split("; ")
    kept = takewhile(lambda word: not word.startswith((_DOUBT, _SLOWNESS)), words)
    return {**shown, "HealthDescription": "; ".join(kept)}
