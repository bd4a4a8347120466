"""The rules of what a plugin type does: its prober, in a real process beside real trouble."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from plugind.agent.findings import SPOILT
from plugind.agent.probing import SLACK
from plugind.testing.actors import FAILING, FLOODING, HANGING, PREFIX, RAISING, STEADY
from plugind.testing.rules import Rules, Subject
from plugind.testing.trial import Evidence

rules = Rules()

_ENDED = "its process ended, {count} times"
_REJECTED = "a server rejects {ID}/{Role}: {Field}: {Reason}"


@rules
def answers_in_time(subject: Subject) -> Iterator[str]:
    """Its prober is made, discovers, probes and closes within probe_timeout each time."""
    evidence = subject.evidence
    for call in evidence.calls:
        if not call.ended and not evidence.ends and call.took > evidence.limit - SLACK:
            yield f"{call} had not ended after {call.took:.2g} s"
        elif call.ended and call.took > evidence.limit:
            yield f"{call} took {call.took:.2g} s, of {evidence.limit:.2g} s at most"


@rules
def findings(subject: Subject) -> Iterator[str]:
    """What its prober finds is of use: names of targets, IDs, roles, fingerprints; and where it
    finds nothing it raises ProbeFailed."""
    evidence = subject.evidence
    if evidence.ends:
        yield _ENDED.format(count=evidence.ends)
    for call in evidence.calls:
        if call.error:
            yield f"{call} raised {call.error}"
    for name in {name for note in evidence.noted("targets") for name in note["odd"]}:
        yield f"{name} is no name for a target: text of 1 to 256 characters"
    yield from {flaw for note in evidence.noted("flaws") for flaw in note["flaws"]}
    yield from _spoilt(evidence)
    for item in evidence.rejected:
        if not item["ID"].startswith(PREFIX):
            yield _REJECTED.format(**item)


@rules
def failing_probe(subject: Subject) -> Iterator[str]:
    """A probe that fails makes its own plugins unhealthy, and is no outage."""
    yield from _misbehaving(subject, FAILING)


@rules
def raising_probe(subject: Subject) -> Iterator[str]:
    """A probe that raises anything makes its own plugins unhealthy, and is no outage."""
    yield from _misbehaving(subject, RAISING)


@rules
def hanging_probe(subject: Subject) -> Iterator[str]:
    """A probe that hangs makes its own plugins unhealthy, and is no outage."""
    yield from _misbehaving(subject, HANGING)


@rules
def flooding_probe(subject: Subject) -> Iterator[str]:
    """A probe that gives thousands of plugins makes its own unhealthy, and is no outage."""
    yield from _misbehaving(subject, FLOODING)


def _spoilt(evidence: Evidence) -> Iterator[str]:
    for (id, role), claims in evidence.state.shown().items():
        for shown in claims.values():
            text = str(shown.fingerprint.get("HealthDescription", ""))
            if text.startswith(SPOILT):
                yield f"{id}/{role}: {text}"


def _misbehaving(subject: Subject, behaviour: str) -> Iterator[str]:
    evidence = subject.evidence
    if evidence.ends:
        yield _ENDED.format(count=evidence.ends)
    shown = evidence.shown(behaviour)
    if not shown:
        yield "nothing is told of it"
    for role, fingerprint in shown.items():
        if fingerprint["Healthy"]:
            yield f"{role}: it is shown as healthy"
    if not all(one["Healthy"] for one in evidence.shown(STEADY).values()):
        yield "a target beside it that is well is shown as unhealthy"
    for item in evidence.rejected:
        if item["ID"] in (PREFIX + behaviour, PREFIX + STEADY):
            yield _REJECTED.format(**item)
    for actor, healthy in ((behaviour, False), (STEADY, True)):
        yield from _answered(subject, evidence.answers[actor], actor, healthy=healthy)


def _answered(subject: Subject, body: Any, actor: str, *, healthy: bool) -> Iterator[str]:
    """What is wrong with a server's answer to who reads that plugin; text says it already."""
    if isinstance(body, str):
        yield body
        return
    for plural in subject.type.roles.values():
        told = (body[f"{plural}Healthy"], body[f"{plural}Expected"])
        if told != (int(healthy), 1):
            yield f"a server shows {PREFIX}{actor} as {plural} {told[0]}/{told[1]}"
