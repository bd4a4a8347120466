"""From what a target's probes find to what is told of it, so that a bad moment makes no noise.

A target that may fail a few times keeps its health meanwhile, and one that is slow to answer says
so. Either is said in words that stay the same while it lasts: it is news once when it begins and
once when it is over, not at every probe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from types import MappingProxyType
from typing import Any

from plugind.agent.findings import clean
from plugind.agent.lines import Failed, Found, Key
from plugind.fields import SECOND, format_duration
from plugind.plugin_type import Settings

SLOW = 0.5
"""The share of probe_timeout from which on an answer is a slow one."""

BRISK = 0.35
"""The share below which it is none any more; what is between changes nothing."""

STREAK = 3
"""Slow answers in a row before that is said, and brisk ones before it is over."""


_DOUBT = "probes fail, but fewer than"
_SLOWNESS = "slow: answers take"

Instances = Mapping[Key, Mapping[str, Any]]


class Judge:
    """What is told of one target, which is probed as ``settings`` say.

    ``before`` judged the target that had the same name; without one ``shown`` is what is shown of
    the target, by the process before this one.
    """

    def __init__(
        self,
        settings: Settings,
        before: Judge | None = None,
        shown: Instances = MappingProxyType({}),
    ) -> None:
        self._allowed = settings.unhealthy_after
        self._timeout = settings.probe_timeout
        known = {key: Standing(_plain(shown[key])) for key in shown}
        self._standings: dict[Key, Standing] = before._standings if before else known
        self._pace = Pace()

    def judge(self, outcome: Found | Failed, took: float) -> Found | Failed:
        """What to tell after a probe that ``took`` so many seconds."""
        found = outcome.instances if isinstance(outcome, Found) else self._all_failed(outcome)
        before = self._standings
        self._standings = {
            key: before.get(key, Standing({})).after(found[key], self._allowed) for key in found
        }
        healthy = any(one.healthy for one in self._standings.values())
        if isinstance(outcome, Found):
            self._pace = self._pace.after(took / self._timeout, took)
        if not healthy:
            self._pace = Pace()
            return outcome
        told = {key: one.told(self._pace.note) for key, one in self._standings.items()}
        return Found(outcome.target, outcome.time, told)

    def _all_failed(self, outcome: Failed) -> dict[Key, dict[str, Any]]:
        why = {"Healthy": False, "HealthDescription": outcome.reason}
        return {key: {**one.fingerprint, **why} for key, one in self._standings.items()}


@dataclass(frozen=True, slots=True)
class Standing:
    """One instance: the fingerprint that counts, which is the last but for failures that are still
    allowed.

    ``failures`` are the last probes in a row that failed, ``successes`` those that did not.
    ``doubt`` says what the first of several failures was, and with ``allowed`` makes the note; ""
    when it is steady.
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
        """The standing once a probe found that; ``allowed`` failures in a row are too many."""
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

    def told(self, pace: str) -> Mapping[str, Any]:
        """The fingerprint with what else there is to say of a healthy one."""
        if not self.healthy or not (self.doubt or pace):
            return self.fingerprint
        words = [self.fingerprint.get("HealthDescription") or "healthy", pace]
        if self.doubt:
            words.append(f"{_DOUBT} {self.allowed} in a row: {self.doubt}")
        return {**self.fingerprint, "HealthDescription": clean("; ".join(filter(None, words)))}


@dataclass(frozen=True, slots=True)
class Pace:
    """Whether answers are slow: ``note`` says so, or is "". ``streak`` counts what would end it."""

    note: str = ""
    streak: int = 0

    def after(self, share: float, took: float) -> Pace:
        """The pace after an answer that took that share of its time-out, in seconds ``took``."""
        other = share < BRISK if self.note else share >= SLOW
        if not other:
            return Pace(self.note)
        if self.streak + 1 < STREAK:
            return Pace(self.note, self.streak + 1)
        return Pace() if self.note else Pace(f"{_SLOWNESS} {_rounded(took)}")


def _plain(shown: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is shown of a healthy instance, without what was added to its description."""
    if not shown["Healthy"]:
        return shown
    words = str(shown.get("HealthDescription") or "").split("; ")
    kept = takewhile(lambda word: not word.startswith((_DOUBT, _SLOWNESS)), words)
    return {**shown, "HealthDescription": "; ".join(kept)}


def _rounded(seconds: float) -> str:
    return format_duration(round(float(f"{seconds:.2g}") * SECOND))
