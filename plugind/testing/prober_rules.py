"""The rules for a plugin type's prober, which runs in a real process with misbehaving targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from plugind.agent.prober.results import SPOILT
from plugind.agent.prober.target import SLACK
from plugind.testing.actors import COLD, FAILING, FLOODING, HANGING, PREFIX, RAISING, STEADY
from plugind.testing.rules import Rules, Subject
from plugind.testing.trial import Call, Evidence

rules = Rules()

_ENDED = "its process ended, {count} times"
_REJECTED = "a server rejects {ID}/{Role}: {Field}: {Reason}"

_TRIAL = ("settings-load",)
"""The rules that must hold before a prober can be tried out."""

_SERVED = (
    *_TRIAL,
    "answers-in-time",
    "load-defaults",
    "probe-results",
    "rows-serialize",
    "summary-of-nothing",
    "summary-without-details",
    "summary-of-odd-values",
)
"""The rules that must hold before a server can show anything of the type."""


@rules.after(*_TRIAL)
def answers_in_time(subject: Subject) -> Iterator[str]:
    """Require that each call to make its prober, to discover, to probe or to close takes at most
    probe_timeout."""
    evidence = subject.evidence
    for call in evidence.calls:
        if not call.ended and not evidence.ends and call.took > evidence.limit - SLACK:
            yield f"{call} had not ended after {call.took:.2g} s"
        elif call.ended and call.took > evidence.limit:
            yield f"{call} took {call.took:.2g} s, of {evidence.limit:.2g} s at most"


@rules.after(*_TRIAL)
def probe_results(subject: Subject) -> Iterator[str]:
    """Require valid results from its prober: targets and their names, IDs, roles, and fingerprints
    with fields that its schemas declare; or ProbeFailed."""
    evidence = subject.evidence
    raised = [call for call in evidence.calls if call.error]
    if evidence.ends and not any(call.name == "prober" for call in raised):
        yield _ENDED.format(count=evidence.ends)
    yield from _raised(raised)
    for name in {name for note in evidence.noted("targets") for name in note["odd"]}:
        yield f"{name} cannot name a target: use a text of 1 to 256 characters"
    yield from sorted({text for note in evidence.noted("problems") for text in note["problems"]})
    for (id, role), claims in evidence.state.shown().items():
        for shown in claims.values():
            text = str(shown.fingerprint.get("HealthDescription", ""))
            if text.startswith(SPOILT):
                yield f"{id}/{role}: {text}"
    yield from _rejected(evidence)


@rules.after(*_SERVED)
def cold_start(subject: Subject) -> Iterator[str]:
    """Require that targets are shown even if no probe of them has ever succeeded: by the target's
    name if it is valid as a plugin's ID, else as instances_of returns; () if only a probe can find
    them."""
    evidence = subject.evidence
    nameless = [note["target"] for note in evidence.noted("named") if not note["named"]]
    for target in dict.fromkeys(nameless):
        yield (
            f"{target}: would not be shown if its first probe failed, because its name is not a"
            " plugin ID and instances_of does not name it"
        )
        return  # the prober's other targets are of the same kind
    yield from _misbehaving(subject, COLD)


@rules.after(*_SERVED)
def failing_probe(subject: Subject) -> Iterator[str]:
    """Require that a probe that fails makes only its own plugins unhealthy."""
    yield from _misbehaving(subject, FAILING)


@rules.after(*_SERVED)
def raising_probe(subject: Subject) -> Iterator[str]:
    """Require that a probe that raises any exception makes only its own plugins unhealthy."""
    yield from _misbehaving(subject, RAISING)


@rules.after(*_SERVED)
def hanging_probe(subject: Subject) -> Iterator[str]:
    """Require that a probe that hangs makes only its own plugins unhealthy."""
    yield from _misbehaving(subject, HANGING)


@rules.after(*_SERVED)
def flooding_probe(subject: Subject) -> Iterator[str]:
    """Require that a probe that returns thousands of plugins makes only its own plugins
    unhealthy."""
    yield from _misbehaving(subject, FLOODING)


def _raised(calls: Sequence[Call]) -> Iterator[str]:
    """Yield one line for each error, however many calls raised it."""
    for error in dict.fromkeys(call.error for call in calls):
        first, *others = dict.fromkeys(str(call) for call in calls if call.error == error)
        more = f", and so did {len(others)} other calls" if others else ""
        yield f"{first} raised {error}{more}"


def _rejected(evidence: Evidence) -> Iterator[str]:
    """Yield one line for each reason why a server rejects fields, however many it rejects."""
    items = [item for item in evidence.rejected if not item["ID"].startswith(PREFIX)]
    seen = set()
    for item in items:
        cause = (item["Role"], item["Field"], item["Reason"])
        if cause not in seen:
            seen.add(cause)
            yield _REJECTED.format(**item)


def _misbehaving(subject: Subject, behaviour: str) -> Iterator[str]:
    evidence = subject.evidence
    if evidence.ends:
        yield _ENDED.format(count=evidence.ends)
    shown = evidence.shown(behaviour)
    if not shown:
        yield "it is not reported"
    for role, fingerprint in shown.items():
        if fingerprint["Healthy"]:
            yield f"{role}: it is shown as healthy"
    if not all(one["Healthy"] for one in evidence.shown(STEADY).values()):
        yield "a healthy target beside it is shown as unhealthy"
    for item in evidence.rejected:
        if item["ID"] in (PREFIX + behaviour, PREFIX + STEADY):
            yield _REJECTED.format(**item)
    for actor, healthy in ((behaviour, False), (STEADY, True)):
        yield from _answered(subject, evidence.answers[actor], actor, healthy=healthy)


def _answered(subject: Subject, body: Any, actor: str, *, healthy: bool) -> Iterator[str]:
    """Yield the problems of a server's answer about an actor; an answer that is a text is itself
    the problem."""
    if isinstance(body, str):
        yield body
        return
    for role, plural in subject.type.roles.items():
        counts = (body[f"{plural}Healthy"], body[f"{plural}Expected"])
        # The roles of an actor that never answered are unknown, so it has the default one.
        expected = int(actor != COLD or role == subject.type.default_role)
        if counts != (int(healthy), expected):
            yield f"a server shows {PREFIX}{actor} as {plural} {counts[0]}/{counts[1]}"
