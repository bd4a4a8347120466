"""The protocol in which a prober's process reports to the agent: lines of JSON.

One message per line::

    {"targets": [NAME, ...]}                                all targets, when they changed
    {"targets": [NAME, ...], "dropped": [NAME, ...]}        and those that a reload took away
    {"targets": [NAME, ...], "configured": [NAME, ...]}     and those that configuration names
    {"target": NAME, "time": NS, "instances": [{"id", "role", "fingerprint"}, ...]}
                                                            a probe's result, when it changed
    {"target": NAME, "time": NS, "instances": [...], "beyond": N}
                                                            and N more that there is no room for
    {"target": NAME, "time": NS, "failure": TEXT}           a probe raised, or did not answer
    {"target": NAME, "time": NS, "failure": TEXT, "named": [[ID, ROLE], ...]}
                                                            and these are the target's instances,
                                                            if no probe has succeeded yet
    {"trouble": TEXT}                                       a problem of the type itself; "" when
                                                            it is over
    {"alive": N}                                            every second
    {"alive": N, "probes": [COUNT, FAILURES, NS]}           and the probes since the start
    {"idle": true}                                          this type has nothing to probe
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plugind.errors import BadRequest, PlugindError
from plugind.model.probes import NO_PROBES, Probes
from plugind.model.times import INT64_MAX
from plugind.wire import strict_json

LINE_MAXIMUM = 1 << 20
"""The longest line, in bytes, without its newline."""

Key = tuple[str, str]
"""An instance on this machine and of one type: plugin ID and role."""


class BadLine(PlugindError):
    """A line that is not a message, or a message that is too long for a line."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The names of all targets that exist now; any other target is gone.

    ``dropped`` are targets that are gone because the configuration no longer has them.
    ``configured`` are targets that the configuration names one by one.
    """

    names: frozenset[str]
    dropped: frozenset[str] = frozenset()
    configured: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a target's probe at ``time`` (nanoseconds since the epoch).

    ``beyond`` is the number of instances left out because they exceed what the type may report.
    """

    target: str
    time: int
    instances: Mapping[Key, Mapping[str, Any]]
    beyond: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The reason why a target's probe returned nothing at ``time`` (nanoseconds since the epoch).

    ``named`` are the target's instances as far as its type can name them before a probe succeeds.
    """

    target: str
    time: int
    reason: str
    named: frozenset[Key] = frozenset()


@dataclass(frozen=True, slots=True)
class Trouble:
    """The reason why the type as a whole cannot be reported in full; "" when that is over."""

    text: str


@dataclass(frozen=True, slots=True)
class Alive:
    """The process runs, and has sent ``count`` of these messages before; ``probes`` counts the
    probes since its start."""

    count: int
    probes: Probes = NO_PROBES


@dataclass(frozen=True, slots=True)
class Idle:
    """The type has no prober; the process ends, and need not be started again."""


Message = Targets | Found | Failed | Trouble | Alive | Idle


def encode(message: Message) -> bytes:
    """Return the line for a message, with its newline. Raise BadLine when it is too long."""
    line = json.dumps(
        _value(message), separators=(",", ":"), ensure_ascii=False, allow_nan=False, sort_keys=True
    ).encode(errors="replace")
    if len(line) > LINE_MAXIMUM:
        raise BadLine(f"it takes {len(line):,} bytes as JSON; at most {LINE_MAXIMUM:,} are taken")
    return line + b"\n"


def _value(message: Message) -> dict[str, Any]:
    match message:
        case Targets(names, dropped, configured):
            more = {"dropped": sorted(dropped), "configured": sorted(configured)}
            return {"targets": sorted(names), **{key: more[key] for key in more if more[key]}}
        case Found(target, time, found, beyond):
            instances = [
                {"id": id, "role": role, "fingerprint": found[id, role]}
                for id, role in sorted(found)
            ]
            rest = {"beyond": beyond} if beyond else {}
            return {"target": target, "time": time, "instances": instances, **rest}
        case Failed(target, time, reason, named):
            keys = {"named": [list(key) for key in sorted(named)]} if named else {}
            return {"target": target, "time": time, "failure": reason, **keys}
        case Trouble(text):
            return {"trouble": text}
        case Alive(count, probes):
            return {"alive": count, **({"probes": list(probes)} if probes.number else {})}
        case Idle():
            return {"idle": True}


def decode(line: bytes) -> Message:
    """Return the message in a line, given without its newline. Raise BadLine when it is not a
    message."""
    if len(line) > LINE_MAXIMUM:
        raise BadLine(f"a line is longer than {LINE_MAXIMUM:,} bytes")
    try:
        value = strict_json.parse(line)
    except BadRequest as error:
        raise BadLine(str(error)) from error
    if isinstance(value, dict) and "target" in value:
        return _outcome(value)
    if isinstance(value, dict) and "targets" in value:
        parts = ("targets", "dropped", "configured")
        return Targets(*(_names(value.get(part, [])) for part in parts))
    match value:
        case {"trouble": str(text)}:
            return Trouble(text)
        case {"alive": int(count)}:
            return Alive(count, _probes(value.get("probes", NO_PROBES)))
        case {"idle": True}:
            return Idle()
    raise _no_message(value)


def _outcome(value: dict[str, Any]) -> Found | Failed:
    match {"beyond": 0, "named": [], **value}:
        case {
            "target": str(name),
            "time": int(time),
            "instances": list(items),
            "beyond": int(more),
        }:
            return Found(name, time, dict(_instance(item) for item in items), more)
        case {
            "target": str(name),
            "time": int(time),
            "failure": str(reason),
            "named": list(items),
        }:
            return Failed(name, time, reason, frozenset(_key(item) for item in items))
    raise _no_message(value)


def _names(items: Any) -> frozenset[str]:
    if isinstance(items, list) and all(isinstance(item, str) for item in items):
        return frozenset(items)
    raise _no_message(items)


def _key(item: Any) -> Key:
    match item:
        case [str(id), str(role)]:
            return id, role
    raise _no_message(item)


def _probes(items: Any) -> Probes:
    match items:
        case [int(number), int(failures), int(time)]:
            found = Probes(number, failures, time)
            if all(0 <= each <= INT64_MAX for each in found):
                return found
    raise _no_message(items)


def _instance(item: Any) -> tuple[Key, Mapping[str, Any]]:
    match item:
        case {"id": str(id), "role": str(role), "fingerprint": {"Healthy": bool()} as fingerprint}:
            return (id, role), fingerprint
    raise _no_message(item)


def _no_message(value: Any) -> BadLine:
    return BadLine(f"not a message of a prober: {str(value)[:100]!r}")
