"""Validates what a probe returned, so that one plugin type cannot spoil a whole report.

A server rejects a report as a whole for NaN or for nesting too deep. Values that are mutable or not
JSON must not get as far as the agent.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, MutableMapping
from typing import Any, NamedTuple

from plugind.agent.allocations import PROCESS
from plugind.agent.protocol import Key
from plugind.errors import ProbeFailed
from plugind.model.times import INT64_MAX
from plugind.plugin_type import ANY_ROLE
from plugind.toolbox import processes
from plugind.wire.fields import ID_PATTERN

INSTANCES_MAXIMUM = 1_000
"""Instances of one target, where a type's settings do not say (``max_instances``)."""

SUCCESSION = "Succession"

DESCRIPTION_MAXIMUM = 4_096
"""Characters of a HealthDescription."""

SPOILT = "its plugin type gave a bad fingerprint: "
"""The beginning of the description of a fingerprint that replaces an invalid one."""

NESTING_MAXIMUM = 20
"""Levels of objects and lists in a fingerprint; a server takes 32 in the report around it."""


class Checked(NamedTuple):
    """A fingerprint that was checked: its JSON as its type gave it, and as it is reported."""

    text: str
    plain: dict[str, Any]


def examine(
    result: Any,
    roles: Collection[str],
    maximum: int = INSTANCES_MAXIMUM,
    last: MutableMapping[Key, Checked] | None = None,
) -> tuple[dict[Key, dict[str, Any]], tuple[str, ...]]:
    """Return the valid instances of a probe's result by plugin ID and role, and the problems of
    others.

    An invalid fingerprint under a valid key becomes an unhealthy one that says so. Raise
    ProbeFailed when the result as a whole cannot be used, for example because it has more than
    ``maximum`` instances.

    ``last`` has the fingerprints of the target's last result, and is given those of this one. One
    that is still the same is not checked again: the same object is returned for it.
    """
    if not isinstance(result, Mapping):
        raise ProbeFailed(
            f"probe returned {type(result).__name__} instead of a mapping from plugin ID and role"
        )
    if len(result) > maximum:
        raise ProbeFailed(
            f"probe returned {len(result):,} instances; at most {maximum:,} are taken "
            "(max_instances)"
        )
    problems = {key: _problem_of(key, roles) for key in result}
    before = {} if last is None else dict(last)
    new = {
        key: _checked(result[key], before.get(key))
        for key, problem in problems.items()
        if not problem
    }
    if last is not None:
        last.clear()
        last.update(new)
    found = {key: checked.plain for key, checked in new.items()}
    return found, tuple(problem for problem in problems.values() if problem)


def targets_of(found: Any) -> Mapping[str, Any]:
    """Return the result of discover. Raise ProbeFailed when it is not a mapping."""
    if not isinstance(found, Mapping):
        raise ProbeFailed(
            f"discover returned {type(found).__name__} instead of a mapping from names to targets"
        )
    return found


def keys_of(
    named: Any, roles: Collection[str], maximum: int = INSTANCES_MAXIMUM
) -> tuple[frozenset[Key], tuple[str, ...]]:
    """Return the valid keys in the result of instances_of, and the problems of the others.

    Raise ProbeFailed when the result as a whole cannot be used.
    """
    if named is None:
        return frozenset(), ()
    if isinstance(named, str) or not isinstance(named, Collection):
        kind = type(named).__name__
        raise ProbeFailed(f"instances_of returned {kind} instead of pairs of plugin ID and role")
    if len(named) > maximum:
        raise ProbeFailed(f"instances_of returned {len(named):,} pairs; at most {maximum:,}")
    problems = [(key, _problem_of(key, roles)) for key in named]
    good = frozenset(key for key, problem in problems if not problem)
    return good, tuple(problem for _, problem in problems if problem)


def clean(text: str) -> str:
    """Return the text in one line of valid Unicode and bounded length, as operators see it."""
    return _bounded(" ".join(text.split()))


def _bounded(text: str) -> str:
    valid = text.encode(errors="replace").decode()
    return valid if len(valid) <= DESCRIPTION_MAXIMUM else f"{valid[: DESCRIPTION_MAXIMUM - 1]}…"


def _problem_of(key: Any, roles: Collection[str]) -> str:
    match key:
        case (str(id), str(role)):
            if not ID_PATTERN.fullmatch(id):
                return f"{id[:200]!r} is no plugin ID"
            if role != ANY_ROLE and role not in roles:
                return f"{role[:200]!r} is no role; there are {', '.join(sorted(roles))}"
            return ""
    return f"{str(key)[:200]!r} is no pair of plugin ID and role"


def _checked(fingerprint: Any, last: Checked | None) -> Checked:
    """Return the fingerprint as a copy in plain JSON values; an unhealthy one when that is
    impossible. Where it is the ``last`` one again, return that."""
    try:
        text = _text(fingerprint)
        if last is not None and last.text == text:
            return last
        plain = _plain(text)
    except (TypeError, ValueError, RecursionError) as error:
        reason = f"{SPOILT}{error}"
        return Checked("", {"Healthy": False, "HealthDescription": clean(reason)})
    for name in ("UpdateTime", "Configured"):  # these are the core's own, and not changes
        plain.pop(name, None)
    if description := plain.get("HealthDescription"):
        plain["HealthDescription"] = _bounded(description)
    return Checked(text, plain)


def _text(fingerprint: Any) -> str:
    if not isinstance(fingerprint, Mapping):
        raise TypeError(f"it is {type(fingerprint).__name__} instead of a mapping")
    return json.dumps(dict(fingerprint), allow_nan=False, ensure_ascii=False)


def _plain(text: str) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(text)
    if not isinstance(plain.get("Healthy"), bool):
        raise TypeError("Healthy must be True or False")
    if not isinstance(plain.get("HealthDescription", ""), str):
        raise TypeError("HealthDescription must be a string")
    if plain.get(PROCESS) is None:
        plain.pop(PROCESS, None)  # no process was found
    elif not processes.is_description(plain[PROCESS]):
        raise TypeError(f"{PROCESS} must be a description as plugind.toolbox.processes returns")
    if SUCCESSION in plain and not _is_succession(plain[SUCCESSION]):
        raise TypeError(f'{SUCCESSION} must be {{"Of": TEXT, "Rank": NUMBER}}')
    if _nesting(plain) > NESTING_MAXIMUM:
        raise ValueError(f"it is nested deeper than {NESTING_MAXIMUM} levels")
    rest = {name: value for name, value in plain.items() if name != "HealthDescription"}
    json.dumps(rest, ensure_ascii=False).encode()
    return plain


def _is_succession(value: Any) -> bool:
    match value:
        case {"Of": str(), "Rank": int(rank), **rest} if not rest and not isinstance(rank, bool):
            return abs(rank) <= INT64_MAX
    return False


def _nesting(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_nesting, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_nesting, value), default=0)
    return 0
