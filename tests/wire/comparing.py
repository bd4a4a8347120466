"""The differences between an answer and its recording: one line each, none if they agree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support import Answer
from tests.wire.recorded_server import SECRETS
from tests.wire.recording import Recording

# They depend on the connection and the clock; curl and every client's library read them.
_FRAMING = {"content-length", "transfer-encoding", "date", "connection"}

# Indexes, times, hashes and facts of the machine: only their types are compared.
_ASIDE = re.compile(
    r"""
      .*\.(Create|Modify)Index | body\.Index | header\ x-nomad-index
    | .*\.(CreateTime|StatusUpdatedAt) | body\..*\.?Hash
    | .*\.(ComputedClass|HTTPAddr|DataDir|LogLevel|NodeName)
    | .*\.(Node)?Resources\..*
    | .*\.(Port|Ports\.HTTP|HTTP|MinHeartbeatTTL|NodeGCThreshold)
    | .*\.Tags\.(port|id|build) | body\.config\.Version\..* | body\.stats\.runtime\..*
    """,
    re.X,
)
_ALLOCATIONS = re.compile(r"body\.Allocations|node-allocations body")
_HOST_AND_PORT = re.compile(r"127\.0\.0\.1:\d+")


def differences(recorded: Recording, answer: Answer) -> set[str]:
    """Return all differences, each as PLACE: WHAT."""
    found = set() if recorded.status == answer.status else {f"status: {answer.status}"}
    found |= set(_headers(recorded.headers, answer.headers))
    if recorded.method == "HEAD" or "Accept-Encoding" in recorded.given:
        return found  # there is no body, or curl threw it away
    return found | set(_bodies(recorded, answer))


def _headers(recorded: Mapping[str, str], given: Mapping[str, str]) -> Iterator[str]:
    for name in sorted((recorded.keys() | given.keys()) - _FRAMING):
        if name in recorded and name in given:
            yield from _values(f"header {name}", recorded[name], given[name])
        else:
            yield f"header {name}: {'missing' if name in recorded else 'added'}"


def _bodies(recorded: Recording, answer: Answer) -> Iterator[str]:
    if not (recorded.is_json and answer.headers.get("content-type") == "application/json"):
        if recorded.body != answer.text:
            yield f"body: {answer.text}"
        return
    if answer.body != _in_the_form_of(recorded.body, answer.json):
        yield "body: not in the recorded form"
    place = "node-allocations body" if recorded.name == "node-allocations" else "body"
    secret = SECRETS.get(recorded.given.get("X-Nomad-Token", ""), "")
    text = recorded.body.replace("<the token's secret>", secret)
    yield from _values(place, _parsed(text), _parsed(answer.text))


def _parsed(text: str) -> Any:
    """Parse JSON, with all servers in it at one address."""
    return json.loads(_HOST_AND_PORT.sub("127.0.0.1:4646", text))


def _in_the_form_of(text: str, value: Any) -> bytes:
    """Format a value as JSON with sorted keys, indented if the text is."""
    if text.endswith("\n"):
        form = json.dumps(value, indent=4, sort_keys=True, ensure_ascii=False) + "\n"
    else:
        form = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return form.encode()


def _values(place: str, recorded: Any, given: Any) -> Iterator[str]:
    if _ALLOCATIONS.fullmatch(place):
        yield from _types(place, recorded[:1], given[:1])
    elif type(recorded) is not type(given):
        yield f"{place}: {_shown(given)}"
    elif isinstance(recorded, dict):
        for key in sorted(recorded.keys() | given.keys()):
            if key in recorded and key in given:
                yield from _values(f"{place}.{key}", recorded[key], given[key])
            else:
                yield f"{place}.{key}: {'missing' if key in recorded else 'added'}"
    elif isinstance(recorded, list) and len(recorded) == len(given):
        for number, (one, other) in enumerate(zip(recorded, given, strict=True)):
            yield from _values(f"{place}.{number}", one, other)
    elif recorded != given and not _ASIDE.fullmatch(place):
        yield f"{place}: {_shown(given)}"


def _types(place: str, recorded: Any, given: Any) -> Iterator[str]:
    """Yield differences in the names of keys, and in types where neither value is null."""
    if isinstance(recorded, dict) and isinstance(given, dict):
        for key in sorted(recorded.keys() | given.keys()):
            if key in recorded and key in given:
                yield from _types(f"{place}.{key}", recorded[key], given[key])
            else:
                yield f"{place}.{key}: {'missing' if key in recorded else 'added'}"
    elif isinstance(recorded, list) and isinstance(given, list):
        if recorded and not given:
            yield f"{place}: []"
        for one, other in zip(recorded, given, strict=False):
            yield from _types(f"{place}.0", one, other)
    elif type(recorded) is not type(given) and None not in (recorded, given):
        yield f"{place}: {_shown(given)}"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:80]
