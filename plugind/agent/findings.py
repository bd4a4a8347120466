"""Checks what a probe returned, so that one careless plugin type cannot spoil a whole report.

A server refuses a report as a whole for NaN or for nesting too deep; and what is mutable or no JSON
must not get as far as the agent.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from plugind.agent.allocations import PROCESS
from plugind.agent.lines import Key
from plugind.errors import ProbeFailed
from plugind.fields import ID_PATTERN
from plugind.plugin_type import ANY_ROLE
from plugind.toolbox import processes

INSTANCES_MAXIMUM = 1_000
"""Instances of one target, where a type's settings do not say (``max_instances``)."""

DESCRIPTION_MAXIMUM = 4_096
"""Characters of a HealthDescription."""

SPOILT = "its plugin type gave a bad fingerprint: "
"""How the description of a fingerprint begins that stands for one of no use."""

NESTING_MAXIMUM = 20
"""Levels of objects and lists in a fingerprint; a server takes 32 in the report around it."""


def examine(
    result: Any, roles: Collection[str], maximum: int = INSTANCES_MAXIMUM
) -> tuple[dict[Key, dict[str, Any]], tuple[str, ...]]:
    """What a probe's result holds by plugin ID and role, and what is wrong with the rest of it.

    A bad fingerprint under a good key becomes an unhealthy one that says so. Raises ProbeFailed
    when the result as a whole cannot be used, as one of more than ``maximum`` instances.
    """
    if not isinstance(result, Mapping):
        raise ProbeFailed(f"probe returned {type(result).__name__} instead of a mapping")
    if len(result) > maximum:
        raise ProbeFailed(
            f"probe returned {len(result):,} instances; at most {maximum:,} are taken "
            "(max_instances)"
        )
    flaws = {key: _flaw_of(key, roles) for key in result}
    found = {key: _checked(result[key]) for key, flaw in flaws.items() if not flaw}
    return found, tuple(flaw for flaw in flaws.values() if flaw)


def clean(text: str) -> str:
    """The text in one line of valid Unicode and bounded length, as operators are shown it."""
    return _bounded(" ".join(text.split()))


def _bounded(text: str) -> str:
    valid = text.encode(errors="replace").decode()
    return valid if len(valid) <= DESCRIPTION_MAXIMUM else f"{valid[: DESCRIPTION_MAXIMUM - 1]}…"


def _flaw_of(key: Any, roles: Collection[str]) -> str:
    match key:
        case (str(id), str(role)):
            if not ID_PATTERN.fullmatch(id):
                return f"{id[:200]!r} is no plugin ID"
            if role != ANY_ROLE and role not in roles:
                return f"{role[:200]!r} is no role; there are {', '.join(sorted(roles))}"
            return ""
    return f"{str(key)[:200]!r} is no pair of plugin ID and role"


def _checked(fingerprint: Any) -> dict[str, Any]:
    """The fingerprint as plain JSON values of its own; an unhealthy one when it cannot be that."""
    try:
        plain = _plain(fingerprint)
    except (TypeError, ValueError, RecursionError) as error:
        reason = f"{SPOILT}{error}"
        return {"Healthy": False, "HealthDescription": clean(reason)}
    plain.pop("UpdateTime", None)  # the core's own, and not a change
    if description := plain.get("HealthDescription"):
        plain["HealthDescription"] = _bounded(description)
    return plain


def _plain(fingerprint: Any) -> dict[str, Any]:
    if not isinstance(fingerprint, Mapping):
        raise TypeError(f"it is {type(fingerprint).__name__} instead of a mapping")
    text = json.dumps(dict(fingerprint), allow_nan=False, ensure_ascii=False)
    plain: dict[str, Any] = json.loads(text)
    if not isinstance(plain.get("Healthy"), bool):
        raise TypeError("Healthy must be True or False")
    if not isinstance(plain.get("HealthDescription", ""), str):
        raise TypeError("HealthDescription must be a string")
    if plain.get(PROCESS) is None:
        plain.pop(PROCESS, None)  # nobody was found
    elif not processes.is_description(plain[PROCESS]):
        raise TypeError(f"{PROCESS} must be what plugind.toolbox.processes tells of one")
    if _nesting(plain) > NESTING_MAXIMUM:
        raise ValueError(f"it is nested deeper than {NESTING_MAXIMUM} levels")
    rest = {name: value for name, value in plain.items() if name != "HealthDescription"}
    json.dumps(rest, ensure_ascii=False).encode()
    return plain


def _nesting(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_nesting, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_nesting, value), default=0)
    return 0
