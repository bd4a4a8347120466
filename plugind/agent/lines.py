"""The lines of JSON in which a prober's process tells the agent what it finds.

One message a line::

    {"targets": [NAME, ...]}                                the targets there are, when that changed
    {"targets": [NAME, ...], "dropped": [NAME, ...]}        and those that a reload took away
    {"target": NAME, "time": NS, "instances": [{"id", "role", "fingerprint"}, ...]}
                                                            a probe's result, when it changed
    {"target": NAME, "time": NS, "instances": [...], "beyond": N}
                                                            and N more that there is no room for
    {"target": NAME, "time": NS, "failure": TEXT}           a probe raised, or did not answer
    {"trouble": TEXT}                                       what is wrong with the type itself; ""
                                                            when nothing is any more
    {"alive": N}                                            every second
    {"idle": true}                                          this type has nothing to probe
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plugind import strict_json
from plugind.errors import BadRequest, PlugindError

LINE_MAXIMUM = 1 << 20
"""The longest line, in bytes, without its newline."""

Key = tuple[str, str]
"""An instance on this machine and of one type: plugin ID and role."""


class BadLine(PlugindError):
    """A line that is no message, or a message that is too long for a line."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The names of all targets that there are now; nothing is told of any other from here on.

    ``dropped`` are not among them because configuration no longer has them.
    """

    names: frozenset[str]
    dropped: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Found:
    """What a target's probe returned at ``time`` (nanoseconds since the epoch), but for the
    instances that are ``beyond`` what the type may tell of."""

    target: str
    time: int
    instances: Mapping[Key, Mapping[str, Any]]
    beyond: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a target's probe returned nothing at ``time`` (nanoseconds since the epoch)."""

    target: str
    time: int
    reason: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps the type as a whole from being told of well; "" when nothing does any more."""

    text: str


@dataclass(frozen=True, slots=True)
class Alive:
    """The process runs, and has said so ``count`` times before."""

    count: int


@dataclass(frozen=True, slots=True)
class Idle:
    """The type has no prober; the process ends, and need not be started again."""


Message = Targets | Found | Failed | Trouble | Alive | Idle


def encode(message: Message) -> bytes:
    """The line of a message, with its newline. Raises BadLine when it is too long."""
    line = json.dumps(
        _value(message), separators=(",", ":"), ensure_ascii=False, allow_nan=False, sort_keys=True
    ).encode(errors="replace")
    if len(line) > LINE_MAXIMUM:
        raise BadLine(f"it takes {len(line):,} bytes as JSON; at most {LINE_MAXIMUM:,} are taken")
    return line + b"\n"


def _value(message: Message) -> dict[str, Any]:
    match message:
        case Targets(names, dropped):
            also = {"dropped": sorted(dropped)} if dropped else {}
            return {"targets": sorted(names), **also}
        case Found(target, time, found, beyond):
            instances = [
                {"id": id, "role": role, "fingerprint": found[id, role]}
                for id, role in sorted(found)
            ]
            more = {"beyond": beyond} if beyond else {}
            return {"target": target, "time": time, "instances": instances, **more}
        case Failed(target, time, reason):
            return {"target": target, "time": time, "failure": reason}
        case Trouble(text):
            return {"trouble": text}
        case Alive(count):
            return {"alive": count}
        case Idle():
            return {"idle": True}


def decode(line: bytes) -> Message:
    """The message of a line, without its newline. Raises BadLine when it is none."""
    if len(line) > LINE_MAXIMUM:
        raise BadLine(f"a line is longer than {LINE_MAXIMUM:,} bytes")
    try:
        value = strict_json.parse(line)
    except BadRequest as error:
        raise BadLine(str(error)) from error
    if isinstance(value, dict) and "target" in value:
        return _outcome(value)
    match value:
        case {"targets": names, "dropped": dropped}:
            return Targets(_names(names), _names(dropped))
        case {"targets": names}:
            return Targets(_names(names))
        case {"trouble": str(text)}:
            return Trouble(text)
        case {"alive": int(count)}:
            return Alive(count)
        case {"idle": True}:
            return Idle()
    raise _no_message(value)


def _outcome(value: dict[str, Any]) -> Found | Failed:
    match {"beyond": 0, **value}:
        case {
            "target": str(name),
            "time": int(time),
            "instances": list(items),
            "beyond": int(more),
        }:
            return Found(name, time, dict(_instance(item) for item in items), more)
        case {"target": str(name), "time": int(time), "failure": str(reason)}:
            return Failed(name, time, reason)
    raise _no_message(value)


def _names(items: Any) -> frozenset[str]:
    if isinstance(items, list) and all(isinstance(item, str) for item in items):
        return frozenset(items)
    raise _no_message(items)


def _instance(item: Any) -> tuple[Key, Mapping[str, Any]]:
    match item:
        case {"id": str(id), "role": str(role), "fingerprint": {"Healthy": bool()} as fingerprint}:
            return (id, role), fingerprint
    raise _no_message(item)


def _no_message(value: Any) -> BadLine:
    return BadLine(f"no message of a prober: {str(value)[:100]!r}")
