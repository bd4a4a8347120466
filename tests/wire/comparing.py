"""What an answer has otherwise than its recording: one line a difference, none when they agree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support import Answer
from tests.wire.recording import Recording

# They depend on the connection and the clock; curl and every client's library read them.
_FRAMING = {"content-length", "transfer-encoding", "date", "connection"}

# Indexes, times, hashes and what depends on the machine: here only the types are compared.
_ASIDE = re.compile(
    r"""
    .*\.(Create|Modify)Index | body\.Index | header\ x-nomad-index
    | .*\.(CreateTime|StatusUpdatedAt|Hash)
    | .*\.(ComputedClass|HTTPAddr|LogLevel|BindAddr|DataDir|Datacenter|Version|cpu_count)
    | .*\.(Node)?Resources\..* | .*\.(Port|HTTP|port|id|build|arch|version)
    """,
    re.X,
)


def differences(recorded: Recording, answer: Answer) -> set[str]:
    """All differences, each as PLACE: WHAT."""
    found = set() if recorded.status == answer.status else {f"status: {answer.status}"}
    found |= set(_headers(recorded.headers, answer.headers))
    if recorded.method == "HEAD" or "accept-encoding" in map(str.lower, recorded.given):
        return found  # the body was not kept, or there is none
    return found | set(_bodies(recorded, answer))


def _headers(recorded: Mapping[str, str], given: Mapping[str, str]) -> Iterator[str]:
    for name in sorted((recorded.keys() | given.keys()) - _FRAMING):
        yield from _values(f"header {name}", recorded.get(name), given.get(name))


def _bodies(recorded: Recording, answer: Answer) -> Iterator[str]:
    if not (recorded.is_json and answer.headers.get("content-type") == "application/json"):
        if recorded.body != answer.text:
            yield f"body: {answer.text}"
        return
    if answer.body != _in_the_form_of(recorded.body, answer.json):
        yield "body: not in the recorded form"
    yield from _values("body", recorded.json, answer.json)


def _in_the_form_of(text: str, value: Any) -> bytes:
    """The value as JSON, indented as the text is, with sorted keys."""
    if text.endswith("\n"):
        return json.dumps(value, indent=4, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    form = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return form.encode()


def _values(place: str, recorded: Any, given: Any) -> Iterator[str]:
    if isinstance(recorded, dict) and isinstance(given, dict):
        for key in sorted(recorded.keys() | given.keys()):
            if key not in given:
                yield f"{place}.{key}: missing"
            elif key not in recorded:
                yield f"{place}.{key}: added"
            else:
                yield from _values(f"{place}.{key}", recorded[key], given[key])
    elif isinstance(recorded, list) and isinstance(given, list):
        if len(recorded) != len(given):
            yield f"{place}: {len(given)} items"
        for number, (one, other) in enumerate(zip(recorded, given, strict=False)):
            yield from _values(f"{place}.{number}", one, other)
    elif type(recorded) is not type(given):
        yield f"{place}: {_shown(given)}"
    elif recorded != given and not _ASIDE.fullmatch(place):
        yield f"{place}: {_shown(given)}"


def _shown(value: Any) -> str:
    return "missing" if value is None else json.dumps(value, ensure_ascii=False)[:80]
