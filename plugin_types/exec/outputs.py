"""What a check printed, read as fingerprints: Nagios' way, or as lines of JSON.

The first is described in the guidelines of the Monitoring Plugins project
(https://www.monitoring-plugins.org/doc/guidelines.html).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from marshmallow import INCLUDE, Schema, ValidationError, validate

from plugin_types.exec.schemas import (
    CHECK,
    CRITICAL,
    DETAIL_MAXIMUM,
    DETAILS_MAXIMUM,
    OK,
    PERF_DATA_MAXIMUM,
    STATUSES,
    UNKNOWN,
    WARNING,
)
from plugind.errors import ProbeFailed
from plugind.fields import Flag, Identifier, Text
from plugind.toolbox.programs import Ended

Findings = dict[tuple[str, str], dict[str, Any]]

WORDS_MAXIMUM = 4_000
"""Characters of a check's own words that are passed on."""

_BY_EXIT = dict(enumerate(STATUSES))


def read_nagios(id: str, ended: Ended) -> Findings:
    """The one fingerprint of a check that speaks as Nagios' plugins do."""
    if ended.signal:
        return failed(id, f"it was ended by {ended.signal}")
    first, *rest = ended.output.decode(errors="replace").splitlines() or [""]
    words, _, perf = first.partition("|")
    _, _, more = "\n".join(rest).partition("|")
    status = _BY_EXIT.get(ended.status, UNKNOWN)
    return {
        (id, CHECK): {
            "Healthy": status in (OK, WARNING),
            "HealthDescription": _described(status, ended, _line(words)),
            "Status": status,
            "PerfData": _line(f"{perf} {more}", PERF_DATA_MAXIMUM),
            "Details": {},
        }
    }


def failed(id: str, reason: str) -> Findings:
    """The fingerprint of a check that gave no answer."""
    return {(id, CHECK): {"Healthy": False, "HealthDescription": reason, "Status": UNKNOWN}}


def read_json(ended: Ended) -> Findings:
    """The fingerprints in lines of JSON, one each. Raises ProbeFailed when anything is wrong, for
    what is left out would count as gone."""
    if ended.signal or ended.status:
        how = f"it was ended by {ended.signal}" if ended.signal else _exit(ended)
        raise ProbeFailed(how)
    findings: Findings = {}
    for number, line in enumerate(ended.output.splitlines(), 1):
        if not line.strip():
            continue
        try:
            key, fingerprint = _read_line(line)
        except ProbeFailed as flaw:
            raise ProbeFailed(f"line {number} of its output {flaw}") from flaw
        if key in findings:
            raise ProbeFailed(f"line {number} of its output repeats {key[0]}")
        findings[key] = fingerprint
    return findings


class LineSchema(Schema):
    """A line of JSON; what it holds beyond these goes into Details."""

    class Meta:
        unknown = INCLUDE

    ID = Identifier(required=True)
    Role = Text(load_default=CHECK)
    Healthy = Flag(required=True)
    HealthDescription = Text(load_default="", maximum=WORDS_MAXIMUM)
    Status = Text(
        load_default="", validate=validate.OneOf(STATUSES, error="must be one of {choices}.")
    )
    PerfData = Text(load_default="", maximum=PERF_DATA_MAXIMUM)


def _read_line(line: bytes) -> tuple[tuple[str, str], dict[str, Any]]:
    try:
        value = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ProbeFailed(f"is no JSON: {error}") from error
    if not isinstance(value, Mapping):
        raise ProbeFailed("is no JSON object")
    try:
        loaded = LineSchema().load(value)
    except ValidationError as error:
        told = "; ".join(
            f"{name}: {' '.join(map(str, texts))}"
            for name, texts in sorted(error.messages_dict.items())
        )
        raise ProbeFailed(f"has mistakes: {told}") from error
    healthy = loaded["Healthy"]
    known = {name: loaded.pop(name) for name in LineSchema().fields}
    return (known["ID"], known["Role"]), {
        "Healthy": healthy,
        "HealthDescription": _line(known["HealthDescription"]),
        "Status": known["Status"] or (OK if healthy else CRITICAL),
        "PerfData": known["PerfData"],
        "Details": _details(loaded),
    }


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is none")


def _details(values: Mapping[str, Any]) -> dict[str, str]:
    """Values in words: text as it is, everything else as JSON has it."""
    if len(values) > DETAILS_MAXIMUM:
        raise ProbeFailed(f"has more than {DETAILS_MAXIMUM} fields of its own")
    return {
        _line(name, DETAIL_MAXIMUM): _line(
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),
            DETAIL_MAXIMUM,
        )
        for name, value in values.items()
    }


def _described(status: str, ended: Ended, words: str) -> str:
    if ended.status not in _BY_EXIT:
        return _exit(ended)
    words = words or _first_error(ended) or f"{status} (it printed nothing)"
    if status == WARNING and WARNING not in words.upper():
        return f"{WARNING}: {words}"
    return words


def _exit(ended: Ended) -> str:
    words = _first_error(ended) or _first(ended.output)
    return f"exit status {ended.status}{': ' if words else ''}{words}"


def _first_error(ended: Ended) -> str:
    return _first(ended.errors)


def _first(printed: bytes) -> str:
    """The first line that is not empty."""
    lines = (_line(line) for line in printed.decode(errors="replace").splitlines())
    return next(filter(None, lines), "")


def _line(text: str, maximum: int = WORDS_MAXIMUM) -> str:
    """In one line of valid Unicode, without what moves a terminal's cursor, and bounded."""
    visible = "".join(letter if letter.isprintable() else " " for letter in text)
    words = " ".join(visible.encode(errors="replace").decode().split())
    return words if len(words) <= maximum else f"{words[: maximum - 1]}…"
